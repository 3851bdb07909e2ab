"""Which tables of a statement are bound to one workspace.

A table is bound by `workspace_id = $n`, or by joining its `workspace_id` to that of one that is.
The statement is read as Citus' router planner does it: only conditions that always hold count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pglast import ast
from pglast.enums import A_Expr_Kind, BoolExprType, SubLinkType

COLUMN: Final = "workspace_id"


class NotUnderstood(Exception):
    """A kind of statement that these rules do not know."""


@dataclass(eq=False)
class Relation:
    """One table, subquery or function in a FROM; `table` is None for the last two."""

    table: str | None
    has_column: bool


Term = Relation | int
"""Something that is a workspace id: the column of a relation, or the parameter of this number."""

Output = tuple[str, Term | None]
"""The name of a column that a query returns, and its term. A star is one for each relation."""

STAR: Final = "*"


@dataclass
class Scope:
    """The names that a query sees; those of the queries around it are in `outer`."""

    outer: Scope | None = None
    relations: dict[str, Relation] = field(default_factory=dict)
    ctes: dict[str, Relation] = field(default_factory=dict)

    def cte(self, name: str) -> Relation | None:
        """The CTE of this name, of this query or of one around it."""
        if name in self.ctes:
            return self.ctes[name]
        return None if self.outer is None else self.outer.cte(name)

    def column(self, fields: Sequence[str]) -> Relation | None:
        """The relation of this reference to the column, or None if it is another column."""
        if fields[-1] != COLUMN:
            return None
        for name, relation in self.relations.items():
            if relation.has_column and (len(fields) == 1 or fields[-2] == name):
                return relation
        return None if self.outer is None else self.outer.column(fields)


def children(node: Any) -> Iterator[Any]:
    """The nodes directly inside a node or a tuple of nodes."""
    if isinstance(node, ast.Node):
        for name in node:
            yield from children_of(getattr(node, name))
    else:
        yield from children_of(node)


def children_of(value: Any) -> Iterator[Any]:
    """The nodes in the value of a field."""
    if isinstance(value, ast.Node):
        yield value
    elif isinstance(value, tuple):
        for one in value:
            yield from children_of(one)


def fields_of(column: ast.ColumnRef) -> list[str]:
    """Its names; a star is empty."""
    return [getattr(part, "sval", "") for part in column.fields]


class Bindings:
    """All relations of a statement, and which workspace ids are the same."""

    def __init__(self, statement: Any) -> None:
        self.relations: list[Relation] = []
        self._same: dict[Term, Term] = {}
        self._query(statement, Scope())

    def parameters(self, tables: Iterable[str]) -> dict[str, int | None]:
        """For each of these tables that is read or written, the parameter that it is bound to."""
        names = set(tables)
        found: dict[str, int | None] = {}
        for relation in self.relations:
            if relation.table in names:
                parameter = self.parameter(relation)
                if found.setdefault(relation.table, parameter) != parameter:
                    found[relation.table] = None
        return found

    def parameter(self, relation: Relation) -> int | None:
        """The number of the parameter that a relation is bound to."""
        root = self._root(relation)
        return next(
            (t for t in list(self._same) if isinstance(t, int) and self._root(t) is root), None
        )

    def _root(self, term: Term) -> Term:
        while (parent := self._same.setdefault(term, term)) is not term:
            term = parent
        return term

    def _is_same(self, one: Term | None, other: Term | None) -> bool:
        return one is not None and other is not None and self._root(one) is self._root(other)

    def _unite(self, one: Term | None, other: Term | None) -> None:
        if one is not None and other is not None:
            self._same[self._root(one)] = self._root(other)

    def _query(self, node: Any, outer: Scope) -> list[Output]:
        """Read a query; what its columns are, as far as they are workspace ids."""
        scope = Scope(outer)
        if node.withClause is not None:
            for cte in node.withClause.ctes:
                if node.withClause.recursive and cte.ctequery.larg is not None:
                    # It is known by the rows with which it begins, where it names itself.
                    scope.ctes[cte.ctename] = self._derived(
                        cte.ctequery.larg, scope, _names(cte.aliascolnames)
                    )
                scope.ctes[cte.ctename] = self._derived(
                    cte.ctequery, scope, _names(cte.aliascolnames)
                )
        match node:
            case ast.SelectStmt():
                return self._select(node, scope)
            case ast.InsertStmt():
                return self._insert(node, scope)
            case ast.UpdateStmt():
                return self._change(node, scope, node.fromClause)
            case ast.DeleteStmt():
                return self._change(node, scope, node.usingClause)
        raise NotUnderstood(type(node).__name__)

    def _select(self, node: ast.SelectStmt, scope: Scope) -> list[Output]:
        if node.larg is not None:
            left, right = self._query(node.larg, scope), self._query(node.rarg, scope)
            return [
                (name, one if self._is_same(one, other) else None)
                for (name, one), (_, other) in zip(left, right, strict=False)
            ]
        for item in node.fromClause or ():
            self._from(item, scope)
        self._conditions(node.whereClause, scope)
        for part in (
            "targetList",
            "valuesLists",
            "groupClause",
            "havingClause",
            "sortClause",
            "limitOffset",
            "limitCount",
            "distinctClause",
            "windowClause",
        ):
            self._expressions(getattr(node, part), scope)
        return self._outputs(node.targetList, scope)

    def _insert(self, node: ast.InsertStmt, scope: Scope) -> list[Output]:
        target = self._table(node.relation, scope)
        columns = [column.name for column in node.cols or ()]
        place = columns.index(COLUMN) if COLUMN in columns else -1
        select = node.selectStmt
        if select is not None and select.valuesLists:
            for row in select.valuesLists:
                self._expressions(row, scope)
                self._unite(target, self._term(row[place], scope) if place >= 0 else None)
        elif select is not None:
            outputs = self._query(select, scope)
            if 0 <= place < len(outputs) and all(name != STAR for name, _ in outputs[:place]):
                self._unite(target, outputs[place][1])
        if node.onConflictClause is not None:
            inner = Scope(scope, {**scope.relations, "excluded": target})
            self._expressions(node.onConflictClause, inner)
        return self._returning(node, scope)

    def _change(
        self, node: ast.UpdateStmt | ast.DeleteStmt, scope: Scope, others: Any
    ) -> list[Output]:
        self._table(node.relation, scope)
        for item in others or ():
            self._from(item, scope)
        self._conditions(node.whereClause, scope)
        self._expressions(getattr(node, "targetList", None), scope)
        return self._returning(node, scope)

    def _returning(self, node: Any, scope: Scope) -> list[Output]:
        clause = node.returningClause
        if clause is None:
            return []
        self._expressions(clause.exprs, scope)
        return self._outputs(clause.exprs, scope)

    def _outputs(self, targets: Any, scope: Scope) -> list[Output]:
        found: list[Output] = []
        for target in targets or ():
            value = target.val
            if isinstance(value, ast.ColumnRef) and isinstance(value.fields[-1], ast.A_Star):
                name = fields_of(value)[0] if len(value.fields) > 1 else None
                found += [
                    (STAR, relation)
                    for alias, relation in scope.relations.items()
                    if relation.has_column and name in (None, alias)
                ]
            else:
                found.append((_name_of(target), self._term(value, scope)))
        return found

    def _derived(self, query: Any, scope: Scope, names: Sequence[str] = ()) -> Relation:
        outputs = self._query(query, scope)
        if names:
            outputs = [(name, term) for name, (_, term) in zip(names, outputs, strict=False)]
        terms = [term for name, term in outputs if name in (COLUMN, STAR)]
        relation = Relation(None, has_column=bool(terms))
        self._unite(relation, terms[0] if terms else None)
        return relation

    def _from(self, item: Any, scope: Scope) -> None:
        match item:
            case ast.RangeVar():
                self._table(item, scope)
            case ast.RangeSubselect():
                around = scope if item.lateral else (scope.outer or Scope())
                inner = Scope(around, {}, scope.ctes)
                scope.relations[item.alias.aliasname] = self._derived(
                    item.subquery, inner, _names(item.alias.colnames)
                )
            case ast.RangeFunction():
                names = _names(item.alias.colnames) if item.alias else []
                alias = item.alias.aliasname if item.alias else ""
                scope.relations[alias] = Relation(None, COLUMN in names)
                self._expressions(item.functions, scope)
            case ast.JoinExpr():
                before = set(scope.relations)
                self._from(item.larg, scope)
                self._from(item.rarg, scope)
                if COLUMN in _names(item.usingClause):
                    joined = [
                        relation
                        for name, relation in scope.relations.items()
                        if name not in before and relation.has_column
                    ]
                    for relation in joined:
                        self._unite(relation, joined[0])
                self._conditions(item.quals, scope)
            case _:
                raise NotUnderstood(type(item).__name__)

    def _table(self, item: ast.RangeVar, scope: Scope) -> Relation:
        alias = item.alias.aliasname if item.alias else item.relname
        known = scope.cte(item.relname)
        if known is None:
            relation = Relation(item.relname, has_column=True)
            self.relations.append(relation)
        else:
            # A condition on what a CTE returns does not reach what it reads.
            relation = Relation(None, known.has_column)
            self._unite(relation, self.parameter(known))
        scope.relations[alias] = relation
        return relation

    def _conditions(self, condition: Any, scope: Scope) -> None:
        self._expressions(condition, scope)
        for one in _always(condition):
            if (
                isinstance(one, ast.A_Expr)
                and one.kind == A_Expr_Kind.AEXPR_OP
                and one.name[-1].sval == "="
            ):
                for left, right in _pairs(one.lexpr, one.rexpr):
                    terms = self._term(left, scope), self._term(right, scope)
                    if any(isinstance(term, Relation) for term in terms):
                        self._unite(*terms)

    def _expressions(self, value: Any, scope: Scope) -> None:
        """Read the queries inside of expressions."""
        for node in children_of(value):
            if isinstance(node, ast.SubLink):
                self._sublink(node, scope)
            else:
                self._expressions(tuple(children(node)), scope)

    def _sublink(self, node: ast.SubLink, scope: Scope) -> None:
        outputs = self._query(node.subselect, scope)
        self._expressions(node.testexpr, scope)
        if node.subLinkType == SubLinkType.ANY_SUBLINK and node.operName is None:
            tested = (
                node.testexpr.args if isinstance(node.testexpr, ast.RowExpr) else (node.testexpr,)
            )
            for left, (_, term) in zip(tested, outputs, strict=False):
                self._unite(self._term(left, scope), term)

    def _term(self, node: Any, scope: Scope) -> Term | None:
        match node:
            case ast.ParamRef():
                return node.number
            case ast.TypeCast():
                return self._term(node.arg, scope)
            case ast.ColumnRef():
                return scope.column(fields_of(node))
        return None


def _names(values: Iterable[Any] | None) -> list[str]:
    return [value.sval for value in values or ()]


def _name_of(target: Any) -> str:
    if target.name:
        return str(target.name)
    if isinstance(target.val, ast.ColumnRef):
        return fields_of(target.val)[-1]
    return ""


def _always(condition: Any) -> Iterator[Any]:
    """The conditions of a conjunction."""
    if isinstance(condition, ast.BoolExpr) and condition.boolop == BoolExprType.AND_EXPR:
        for one in condition.args:
            yield from _always(one)
    elif condition is not None:
        yield condition


def _pairs(left: Any, right: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(left, ast.RowExpr) and isinstance(right, ast.RowExpr):
        return zip(left.args, right.args, strict=True)
    return [(left, right)]

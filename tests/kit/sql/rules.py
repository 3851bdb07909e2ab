"""What Citus refuses, or answers from every node, told by the text of a statement.

Each rule stands for a failure that was seen on Citus 13.2 (docs/operations.md, "On Citus").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any, Final

import pglast
from pglast import ast
from pglast.enums import SubLinkType

from deploy.citus.tables import ON_CITUS
from tests.kit.sql.bindings import Bindings, NotUnderstood, children, children_of

TENANT: Final = frozenset(name for tables in ON_CITUS.values() for name in tables.tenant)
LOCAL: Final = frozenset(name for tables in ON_CITUS.values() for name in tables.local)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


IMMUTABLE: Final = _words(
    """
    array_agg array_append array_cat array_length array_position array_remove array_to_string
    array_to_tsvector bool_and bool_or btrim cardinality count decode encode first_value
    generate_series json_array_elements jsonb_agg jsonb_array_elements jsonb_array_elements_text
    jsonb_array_length jsonb_each jsonb_object_keys jsonb_path_query jsonb_set length lower
    make_interval max md5 min octet_length row_number sha256 starts_with string_agg substr sum
    tsvector_to_array unnest upper
    """
)
STABLE: Final = _words(
    """
    concat concat_ws date_trunc extract format json_to_recordset jsonb_build_array
    jsonb_build_object now statement_timestamp to_char to_json to_jsonb transaction_timestamp
    """
)
"""Every other function is taken for volatile."""


class Rule(Enum):
    """The rules, with what a violation means."""

    ONE_WORKSPACE = "each tenant table is bound to one workspace: workspace_id = $n, the same n"
    LOCK_OF_ONE_TABLE = "a query that locks rows has one table in FROM, bound to one workspace"
    NO_MUTABLE_FUNCTION = (
        "UPDATE, DELETE and DO UPDATE call no volatile function, no mutable one with a column, in"
        " CASE, COALESCE or DO UPDATE, and add no interval to a column"
    )
    NO_QUERY_IN_VALUES = "VALUES has no subquery, and a list of columns is empty only in EXISTS"
    INSERT_OF_SELECT = (
        "INSERT of a SELECT has RETURNING or ON CONFLICT, or selects from a tenant table"
    )
    NO_LOCAL_TABLE = "no local table in a statement with a tenant table"
    KNOWN = "every table is in deploy/citus/tables.py, and the statement is of a known kind"


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that a statement breaks, and what of it."""

    rule: Rule
    what: str

    def __str__(self) -> str:
        return f"{self.rule.name} ({self.rule.value}): {self.what}"


@dataclass(frozen=True, slots=True)
class Judged:
    """What the rules say of a text: `workspace` is the number of the parameter that names it."""

    violations: tuple[Violation, ...]
    workspace: int | None = None


@cache
def judged(sql: str, tenant: frozenset[str] = TENANT, local: frozenset[str] = LOCAL) -> Judged:
    """Apply all rules to a text, which is one statement."""
    violations: list[Violation] = []
    workspace = None
    for raw in pglast.parse_sql(sql):
        statement = raw.stmt
        if isinstance(statement, ast.ExplainStmt):
            # Citus shows how the node of the workspace would run the query.
            statement = statement.query
        if not isinstance(
            statement, ast.SelectStmt | ast.InsertStmt | ast.UpdateStmt | ast.DeleteStmt
        ):
            violations += _others(statement, tenant)
            continue
        try:
            bindings = Bindings(statement)
        except NotUnderstood as error:
            violations.append(Violation(Rule.KNOWN, f"{error} is not understood"))
            continue
        found = bindings.parameters(tenant)
        tables = {relation.table for relation in bindings.relations}
        violations += [
            Violation(Rule.KNOWN, f"table {name} is not listed")
            for name in sorted(filter(None, tables - tenant - local))
            if not name.startswith("pg_")
        ]
        numbers = set(found.values())
        if None in numbers or len(numbers) > 1:
            bound = ", ".join(
                f"{name} by {number and f'${number}'}" for name, number in found.items()
            )
            violations.append(Violation(Rule.ONE_WORKSPACE, bound))
        elif numbers:
            (workspace,) = numbers
        if found and tables & local:
            violations.append(Violation(Rule.NO_LOCAL_TABLE, ", ".join(sorted(tables & local))))
        if found:
            violations += _of_parts(statement, tenant, found)
    return Judged(tuple(violations), workspace)


def _others(statement: Any, tenant: frozenset[str]) -> Iterator[Violation]:
    """Of BEGIN, SET and the like, only what names a tenant table is of interest.

    ANALYZE may: Citus analyzes all parts of the table.
    """
    if isinstance(statement, ast.VacuumStmt) and not statement.is_vacuumcmd:
        return
    for node in _nodes(statement):
        if isinstance(node, ast.RangeVar) and node.relname in tenant:
            yield Violation(Rule.KNOWN, f"{type(statement).__name__} is not understood")


def _of_parts(
    statement: Any, tenant: frozenset[str], found: dict[str, int | None]
) -> Iterator[Violation]:
    yield from _columns(statement)
    for node in _nodes(statement):
        match node:
            case ast.SelectStmt():
                yield from _lock(node, found)
            case ast.InsertStmt():
                yield from _insert(node, tenant)
            case ast.UpdateStmt() | ast.DeleteStmt():
                if node.relation.relname in tenant:
                    changed = (getattr(node, "targetList", None), node.whereClause)
                    yield from _mutable(changed, only_immutable=False)


def _lock(node: ast.SelectStmt, found: dict[str, int | None]) -> Iterator[Violation]:
    if node.lockingClause is None:
        return
    items = node.fromClause or ()
    if len(items) != 1 or not isinstance(items[0], ast.RangeVar):
        yield Violation(Rule.LOCK_OF_ONE_TABLE, "its FROM has more than one table")
    elif found.get(items[0].relname) is None and items[0].relname in found:
        yield Violation(Rule.LOCK_OF_ONE_TABLE, f"{items[0].relname} is not bound")


def _columns(statement: Any) -> Iterator[Violation]:
    nodes = list(_nodes(statement))
    in_exists = {
        id(node.subselect)
        for node in nodes
        if isinstance(node, ast.SubLink) and node.subLinkType == SubLinkType.EXISTS_SUBLINK
    }
    for node in nodes:
        if (
            isinstance(node, ast.SelectStmt)
            and id(node) not in in_exists
            and (node.targetList, node.valuesLists, node.larg) == (None, None, None)
        ):
            yield Violation(Rule.NO_QUERY_IN_VALUES, "a list of columns is empty")


def _insert(node: ast.InsertStmt, tenant: frozenset[str]) -> Iterator[Violation]:
    if node.relation.relname not in tenant:
        return
    select, conflict = node.selectStmt, node.onConflictClause
    if select is not None and select.valuesLists:
        if any(isinstance(inner, ast.SubLink) for inner in _nodes(select.valuesLists)):
            yield Violation(Rule.NO_QUERY_IN_VALUES, "a subquery in VALUES")
    elif select is not None and node.returningClause is None and conflict is None:
        reads = {inner.relname for inner in _nodes(select) if isinstance(inner, ast.RangeVar)}
        if not reads & tenant:
            yield Violation(Rule.INSERT_OF_SELECT, f"into {node.relation.relname}")
    if conflict is not None:
        yield from _mutable(conflict.targetList, only_immutable=True)
        yield from _mutable(conflict.whereClause, only_immutable=False)


def _mutable(value: Any, *, only_immutable: bool) -> Iterator[Violation]:
    for node in _nodes(value):
        what = None
        if isinstance(node, ast.CaseExpr | ast.CoalesceExpr):
            called = [
                _function(inner) for inner in _nodes(tuple(children(node))) if _is_call(inner)
            ]
            what = next((f"{name} in CASE or COALESCE" for name in called if name in STABLE), None)
        elif _is_call(node):
            what = _of_call(node, only_immutable=only_immutable)
        elif isinstance(node, ast.A_Expr) and node.name[-1].sval in ("+", "-"):
            sides = (node.lexpr, node.rexpr)
            if any(map(_is_interval, sides)) and any(map(_has_column, sides)):
                what = "an interval and a column"
        if what is not None:
            yield Violation(Rule.NO_MUTABLE_FUNCTION, what)


def _of_call(node: Any, *, only_immutable: bool) -> str | None:
    name = _function(node)
    if name not in IMMUTABLE | STABLE:
        return f"{name} is volatile"
    if name in STABLE and only_immutable:
        return f"{name} in DO UPDATE"
    return f"{name} of a column" if name in STABLE and _has_column(node) else None


def _is_call(node: Any) -> bool:
    return isinstance(node, ast.FuncCall | ast.SQLValueFunction)


def _function(node: Any) -> str:
    if isinstance(node, ast.SQLValueFunction):
        return "now"
    return str(node.funcname[-1].sval)


def _is_interval(node: Any) -> bool:
    if isinstance(node, ast.TypeCast):
        return bool(node.typeName.names[-1].sval == "interval")
    return isinstance(node, ast.FuncCall) and _function(node) == "make_interval"


def _has_column(node: Any) -> bool:
    return any(isinstance(inner, ast.ColumnRef) for inner in _nodes(node))


def _nodes(value: Any) -> Iterator[Any]:
    """All nodes of a part, itself first."""
    for node in children_of(value):
        yield node
        yield from _nodes(tuple(children(node)))

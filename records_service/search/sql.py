"""Criteria as a condition of one SQL statement, over the row `r` of `records`.

Names and values of a request are arguments and never part of the text. What the caller's role does
not see is in the condition, so that nothing is filtered afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import orjson

from records_service.attributes.model import AttributeType
from records_service.catalogs.store import records_in_category
from records_service.model_objects.converted_values import values_now
from records_service.search.claims import claimed
from records_service.search.criteria import (
    FIELDS,
    Comparison,
    Criteria,
    Group,
    InCategory,
    Searched,
    SortKey,
)
from records_service.search.scored import Scored
from records_service.search.sight import Sight
from records_service.search_texts.folding import FOLDING, folded_in_sql
from records_service.search_texts.sort_keys import SORTED_LENGTH_MAX
from records_service.workflow_copies.moves import StateMoves, moves_as_json, state_in_sql
from shared.database.paging import Key
from shared.http.cursors import Kind

SIGNS: Final = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_MATCHING: Final = frozenset({"contains", "startsWith", "endsWith"})
_TEXT: Final = "v.v #>> '{}'"
_URL: Final = "coalesce(v.v ->> 'url', v.v #>> '{}')"
# A time without a zone is UTC, whatever the session's zone is; parts that are missing are zero.
_INSTANT_PATTERN: Final = (
    r"^(\d{4})-?(\d\d)-?(\d\d)(?:[T ](\d\d)(?::?(\d\d)(?::?(\d\d)(?:[.,](\d{1,9}))?)?)?)?"
    r"(Z|[+-]\d\d(?::?\d\d(?::?\d\d(?:\.\d+)?)?)?)?$"
)
_INSTANT: Final = f"""(
    SELECT (m[1] || '-' || m[2] || '-' || m[3] || ' ' || coalesce(m[4], '00') || ':'
            || coalesce(m[5], '00') || ':' || coalesce(m[6], '00') || '.' || coalesce(m[7], '0')
            || coalesce(m[8], 'Z'))::timestamptz
      FROM regexp_match({_TEXT}, '{_INSTANT_PATTERN}') AS m)"""  # noqa: S608 - constants


class Arguments(list[Any]):
    """The arguments of a statement, in the order of their numbers."""

    def __init__(self, arguments: Iterable[Any] = ()) -> None:
        super().__init__(arguments)
        known = arguments if isinstance(arguments, Arguments) else None
        self.moves: str | None = None if known is None else known.moves
        """The argument with the moves of records to the states of another workflow."""
        self.settles: bool = known is not None and known.settles
        """Whether there are values of which a conversion is not stored in each record yet."""
        self.folding: int = FOLDING if known is None else known.folding
        """The version of the rules by which texts are folded."""
        self.reads: set[str] = set() if known is None else set(known.reads)
        """What the conditions look at beside the index: `records`; and of its rows: `terms`."""
        self.sets: dict[frozenset[str], str] = {} if known is None else dict(known.sets)
        """Sets of ids, and the names of the arguments that have them."""

    @classmethod
    def of(
        cls,
        workspace_id: str,
        moves: Mapping[str, StateMoves],
        *,
        settles: bool = False,
        folding: int = FOLDING,
    ) -> Arguments:
        """The first arguments of a statement about the records of a workspace."""
        arguments = cls([workspace_id])
        arguments.settles = settles
        arguments.folding = folding
        if moves:
            arguments.moves = arguments.name(moves_as_json(moves), "text")
        return arguments

    @property
    def state(self) -> str:
        """The expression of the state of `r`."""
        return self.state_of("r.")

    def state_of(self, row: str) -> str:
        """The expression of the state of a row, whose columns have this prefix.

        That is its column, or another while records are moved to the states of another workflow.
        """
        return f"{row}state_id" if self.moves is None else state_in_sql(row, self.moves)

    def values_of(self, row: str) -> str:
        """The expression of the values of a row of records or variants."""
        return f"({values_now(row)})" if self.settles else f"{row}.values"

    def name(self, value: Any, kind: str) -> str:
        """The name of one more argument, of this PostgreSQL type."""
        self.append(value)
        return f"${len(self)}::{kind}"

    def name_set(self, ids: Iterable[str]) -> str:
        """The name of an argument with these ids, which is one for all equal sets."""
        found = frozenset(ids)
        if found not in self.sets:
            self.sets[found] = self.name(sorted(found), "text[]")
        return self.sets[found]


def condition(criteria: Criteria, arguments: Arguments) -> str:  # noqa: PLR0911 - one for each kind
    """The condition that a record meets the criteria, and that the caller may know it."""
    if isinstance(criteria, Group):
        if not criteria.members:
            return "true"
        joint = " AND " if criteria.all_of else " OR "
        return f"({joint.join(condition(each, arguments) for each in criteria.members)})"
    if isinstance(criteria, InCategory):
        return in_category(criteria, arguments)
    if isinstance(criteria.target, str):
        return of_field(criteria, criteria.target, arguments)
    if isinstance(criteria.target, Scored):
        return of_score(criteria, criteria.target.sql(arguments), arguments)
    sight = criteria.target.sight
    met = exists(criteria, criteria.target, arguments)
    if not criteria.negated:
        ids = reserved(criteria, arguments)
        among = "" if ids is None else f"r.id IN ({ids}) AND "
        return f"({seen(sight, arguments)} AND {among}{met})"
    without = f"r.schema_id <> ALL({arguments.name(sorted(sight.having), 'text[]')})"
    return f"({without} OR ({seen(sight, arguments)} AND NOT {met}))"


def reserved(comparison: Comparison, arguments: Arguments) -> str | None:
    """A SELECT of `record_id` of those that have reserved a value; None if it tells nothing."""
    assert isinstance(comparison.target, Searched)
    hashes = claimed(comparison, comparison.target)
    if hashes is None:
        return None
    return (
        "SELECT u.record_id FROM unique_values u"  # noqa: S608
        f" WHERE u.workspace_id = $1"
        f" AND u.attribute_id = {arguments.name(comparison.target.attribute.id, 'text')}"
        f" AND u.scope = '{{}}' AND u.value_hash = ANY({arguments.name(hashes, 'bytea[]')})"
    )


def seen(sight: Sight, arguments: Arguments, row: str = "r.") -> str:
    """The condition that the caller sees the attribute in the record of a row."""
    ways = []
    if sight.seen:
        ways.append(f"{row}schema_id = ANY({arguments.name_set(sight.seen)})")
    for states, schemas in sight.partly.items():
        state = arguments.state_of(row)
        ways.append(
            f"({row}schema_id = ANY({arguments.name_set(schemas)}) AND ({state} IS"
            f" NULL OR {state} <> ALL({arguments.name_set(states)})))"
        )
    return f"({' OR '.join(ways)})" if ways else "false"


def exists(comparison: Comparison, target: Searched, arguments: Arguments) -> str:
    """The condition that some value of the record compares so."""
    if comparison.operation != "filled" and not comparison.operands:
        return "false"
    source = values(target, comparison.scope, arguments)
    return f"EXISTS (SELECT FROM {source} WHERE {_compares(comparison, target, arguments)})"


def values(target: Searched, scope: Any, arguments: Arguments, document: str | None = None) -> str:
    """What follows FROM: the values `v.v` of the record, in any scope or as one scope has them."""
    document = document or arguments.values_of("r")
    field = "".join(f".{_quoted(each.alias)}[*]" for each in target.fields)
    attribute = target.attribute
    if scope is None or not attribute.dimension_ids:
        path = f'$.{_quoted(attribute.id)}[*]."value"[*]{field}'
        return f"jsonb_path_query({document}, {arguments.name(path, 'text')}::jsonpath) AS v (v)"
    wanted = {each: scope[each] for each in attribute.dimension_ids if each in scope}
    rank = [
        f"(e -> 'scope' ? {arguments.name(each, 'text')}) DESC" for each in attribute.dimension_ids
    ]
    return (
        f"(SELECT e -> 'value' AS held"  # noqa: S608 - names are arguments
        f"   FROM jsonb_array_elements({document} -> {arguments.name(attribute.id, 'text')}) AS e"
        f"  WHERE {arguments.name(orjson.dumps(wanted).decode(), 'text')}::jsonb @> (e -> 'scope')"
        f"  ORDER BY (SELECT count(*) FROM jsonb_object_keys(e -> 'scope')) DESC, {', '.join(rank)}"
        f"  LIMIT 1) AS one"
        f" CROSS JOIN LATERAL jsonb_path_query("
        f"one.held, {arguments.name(f'$[*]{field}', 'text')}::jsonpath) AS v (v)"
    )


def pattern(operation: str, folded: str) -> str:
    """The pattern of LIKE for a folded text, in which no character is a wildcard."""
    literal = folded.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
    before = "" if operation == "startsWith" else "%"
    return f"{before}{literal}{'' if operation == 'endsWith' else '%'}"


def sort_key(key: SortKey, name: str, arguments: Arguments) -> tuple[Key, str]:
    """The column of this name by which a page is sorted, and its expression."""
    if isinstance(key.target, str):
        column = FIELDS[key.target][0]
        kind: Kind = datetime if column.endswith("_at") else str
        is_state = column == "state_id"
        expression = arguments.state if is_state else f"r.{column}"
        return Key(name, kind, key.descending, nullable=is_state), expression
    target = key.target
    if isinstance(target, Scored):
        return Key(name, int, key.descending, nullable=True), target.sql(arguments)
    kind, alive = str, ""
    match target.type:
        case AttributeType.NUMBER:
            kind, value = Decimal, f"({_TEXT})::numeric"
        case AttributeType.DATETIME:
            kind, value = datetime, _INSTANT
        case AttributeType.BOOLEAN:
            kind, value = bool, f"({_TEXT})::bool"
        case AttributeType.OPTION if target.large_list is not None:
            kind, value = float, f"(SELECT o.sort_order {_option_of(target.large_list, arguments)})"
        case AttributeType.OPTION:
            options = [each.id for each in target.option_list.values] if target.option_list else []
            kind = int
            value = f"array_position({arguments.name(options, 'text[]')}, {_TEXT})"
        case AttributeType.RELATION:
            value, alive = f'{_TEXT} COLLATE "C"', f" WHERE true{_is_alive(target, arguments)}"
        case found:
            text = _URL if found is AttributeType.MEDIA else _TEXT
            # Folding may make a text longer or shorter; what is cut off decides nothing.
            text = folded_in_sql(f"left({text}, {2 * SORTED_LENGTH_MAX})", arguments.folding)
            value = f"left({text}, {SORTED_LENGTH_MAX})"
    source = values(target, key.scope, arguments)
    first = f"SELECT {value} FROM {source}{alive} LIMIT 1"  # noqa: S608
    expression = f"CASE WHEN {seen(target.sight, arguments)} THEN ({first}) END"
    return Key(name, kind, key.descending, nullable=True), expression


def in_category(criterion: InCategory, arguments: Arguments, record: str = "r.id") -> str:
    """The condition that the record of this id is in one of the categories."""
    if not criterion.category_ids:
        return "true" if criterion.negated else "false"
    # Not NOT IN, which no index helps.
    return (
        f"{'NOT ' if criterion.negated else ''}"
        f"EXISTS (SELECT FROM ({ids_in_category(criterion, arguments)}) AS assigned"
        f" WHERE assigned.record_id = {record})"
    )


def ids_in_category(criterion: InCategory, arguments: Arguments) -> str:
    """A SELECT of `record_id` of the records in one of the categories, perhaps several times."""
    selects = (
        records_in_category(
            each,
            criterion.role,
            arguments,
            include_subcategories=criterion.includes_subcategories,
        )
        for each in criterion.category_ids
    )
    return " UNION ALL ".join(f"({each})" for each in selects)


def of_score(comparison: Comparison, score: str, arguments: Arguments) -> str:
    """The condition on a score, of a record that has one."""
    operands = list(comparison.operands)
    if comparison.operation == "in":
        met = f"{score} {'<> ALL' if comparison.negated else '= ANY'}"
        return f"({met}({arguments.name(operands, 'numeric[]')}))"
    return f"({score} {SIGNS[comparison.operation]} {arguments.name(operands[0], 'numeric')})"


def of_field(comparison: Comparison, name: str, arguments: Arguments, row: str = "r.") -> str:
    """The condition on a field, over a row whose columns have this prefix: `r.`, or `s.`.

    `s` is a row of `search_records`, which has the id, schema, state and time of creation.
    """
    column = f"{row}{FIELDS[name][0]}"
    if name == "lifecycleStateId":
        column = arguments.state_of(row)
    elif name == "id" and row != "r.":
        column = f"{row}record_id"
    operands: Sequence[Any] = comparison.operands
    kind = "timestamptz" if column.endswith("_at") else "text"
    match comparison.operation:
        case "filled":
            met = f"{column} IS NOT NULL"
        case "in":
            met = (
                f"{column} = {arguments.name(operands[0], kind)}"
                if len(operands) == 1
                else f"{column} = ANY({arguments.name(list(operands), f'{kind}[]')})"
            )
        case "contains" | "startsWith" | "endsWith":
            sought = pattern(comparison.operation, operands[0])
            folded = folded_in_sql(column, arguments.folding)
            met = f"{folded} LIKE {arguments.name(sought, 'text')}"
        case sign:
            met = f"{column} {SIGNS[sign]} {arguments.name(operands[0], kind)}"
    return f"(({met}) IS NOT TRUE)" if comparison.negated else f"({met})"


def _compares(  # noqa: PLR0911 - one for each kind of comparison
    comparison: Comparison, target: Searched, arguments: Arguments
) -> str:
    """The condition that the value `v.v` compares so."""
    operation, operands = comparison.operation, comparison.operands
    kind = target.type
    alive = _is_alive(target, arguments) if kind is AttributeType.RELATION else ""
    if operation == "filled":
        return f"""v.v NOT IN ('null', '""', '{{}}', '[]'){alive}"""
    text = _URL if kind is AttributeType.MEDIA else _TEXT
    if operation in _MATCHING and (kind is not AttributeType.OPTION or target.large_list):
        return _matches(comparison, target, text, arguments)
    if kind is AttributeType.NUMBER:
        numbers = [str(each) for each in operands]
        if operation == "in":
            return f"v.v = ANY({arguments.name(numbers, 'text[]')}::jsonb[])"
        number = f"{arguments.name(numbers[0], 'text')}::jsonb"
        return f"(jsonb_typeof(v.v) = 'number' AND v.v {SIGNS[operation]} {number})"
    if kind is AttributeType.DATETIME:
        if operation == "in":
            return f"{_INSTANT} = ANY({arguments.name(list(operands), 'timestamptz[]')})"
        return f"{_INSTANT} {SIGNS[operation]} {arguments.name(operands[0], 'timestamptz')}"
    if kind is AttributeType.BOOLEAN:
        operands = tuple("true" if each else "false" for each in operands)
    if len(operands) == 1:
        return f"{text} = {arguments.name(operands[0], 'text')}{alive}"
    return f"{text} = ANY({arguments.name(list(operands), 'text[]')}){alive}"


def _option_of(list_id: str, arguments: Arguments) -> str:
    """What follows SELECT: the option of a large list that the value `v.v` names."""
    return (
        "FROM option_values o WHERE o.workspace_id = $1"
        f" AND o.list_id = {arguments.name(list_id, 'text')} AND o.id = {_TEXT}"
    )


def _matches(comparison: Comparison, target: Searched, text: str, arguments: Arguments) -> str:
    """The condition that a text, or the label of an option of a large list, is like the operand."""
    sought = arguments.name(pattern(comparison.operation, comparison.operands[0]), "text")
    if target.large_list is None:
        return f"{folded_in_sql(text, arguments.folding)} LIKE {sought}"
    option = _option_of(target.large_list, arguments)
    label = folded_in_sql("o.label", arguments.folding)
    return f"EXISTS (SELECT {option} AND {label} LIKE {sought})"


def _is_alive(target: Searched, arguments: Arguments) -> str:
    """A relation to a deleted record, or to one of another schema, is no value."""
    of_schema = ""
    if target.definition.target_schema_id is not None:
        schema = arguments.name(target.definition.target_schema_id, "text")
        of_schema = f" AND t.schema_id = {schema}"
    return (
        f" AND EXISTS (SELECT FROM records t"
        f" WHERE t.workspace_id = $1 AND t.id = {_TEXT}{of_schema})"
    )


def _quoted(name: str) -> str:
    """A name as a jsonpath has it."""
    return orjson.dumps(name).decode()

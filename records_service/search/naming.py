"""Names of attributes with fields in them, places of a body in messages, and what is sent there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from records_service.attributes.model import Attribute, AttributeType, SubAttribute
from records_service.search.model import CRITERIA_MAX, DEPTH_MAX, OPERATORS, Criterion, Sort
from shared.errors import VIOLATIONS_MAX, ValidationError, Violation, truncated
from shared.http.json_types import js_type
from shared.http.messages import unknown_fields
from shared.http.shapes import names_of

NAMES_OF_ATTRIBUTE: Final = ("attribute", "attributeAlias", "attributeId")
_CRITERION_NAMES: Final = frozenset({*names_of(Criterion), *NAMES_OF_ATTRIBUTE})
_SORT_NAMES: Final = frozenset({*names_of(Sort), *NAMES_OF_ATTRIBUTE})


def readings(name: str) -> Iterator[tuple[str, str | None]]:
    """The name as that of an attribute, then as one of a field: both may contain dots."""
    yield name, None
    for place, character in enumerate(name[:1_000]):
        if character == ".":
            yield name[:place], name[place + 1 :]


def fields_named(
    fields: Sequence[SubAttribute], name: str | None
) -> tuple[SubAttribute, ...] | None:
    """The fields that lead to the one of this name, outermost first; None if there is none."""
    if name is None:
        return ()
    by_alias = {each.alias: each for each in fields}
    for alias, below in readings(name):
        found = by_alias.get(alias)
        inner = None if found is None else fields_named(found.attributes, below)
        if found is not None and inner is not None:
            return (found, *inner)
    return None


def alias_of(*path: Attribute | SubAttribute) -> str:
    """What messages call an attribute, or the field of one to which these lead."""
    return truncated(".".join(each.alias for each in path))


def hint_of(*path: Attribute | SubAttribute) -> str:
    """What to name instead of a complex attribute or field, for the end of a message."""
    fields = path[-1].attributes
    if path[-1].type is not AttributeType.COMPLEX or not fields:
        return ""
    return f": name one of its fields, such as '{alias_of(*path)}.{truncated(fields[0].alias)}'"


def object_at(sent: Any, at: str) -> Mapping[str, Any]:
    """What was sent, as an object; raises `ValidationError`."""
    if not isinstance(sent, dict):
        raise ValidationError.at(
            at, f"Field '{place_name(at)}' must be an object, got {js_type(sent)}"
        )
    return sent


def place_name(at: str) -> str:
    """A place as messages name it: `criteria.0.value`."""
    return at.removeprefix("/").replace("/", ".")


def check_known(criteria: Sequence[Any], sort: Sequence[Any]) -> None:
    """Raise `ValidationError` for fields of criteria and sort keys that nothing reads.

    Where a search is sent, but not where a saved one runs: it may be older than this rule.
    """
    unknown = _unknown_in(criteria, "/criteria", 1)
    for index, one in enumerate(sort):
        if isinstance(one, dict):
            unknown += unknown_fields(_besides(one, _SORT_NAMES), names_of(Sort), f"/sort/{index}")
    ValidationError.check(unknown)


def _unknown_in(criteria: Any, at: str, depth: int) -> list[Violation]:
    found: list[Violation] = []
    if not isinstance(criteria, list) or depth > DEPTH_MAX:
        return found
    for index, one in enumerate(criteria[:CRITERIA_MAX]):
        if isinstance(one, dict):
            place = f"{at}/{index}"
            found += unknown_fields(_besides(one, _CRITERION_NAMES), names_of(Criterion), place)
            found += _unknown_in(one.get("criteria"), f"{place}/criteria", depth + 1)
            if len(found) >= VIOLATIONS_MAX:
                break
    return found


def _besides(sent: Mapping[str, Any], known: frozenset[str]) -> list[str]:
    return list(islice((name for name in sent if name not in known), VIOLATIONS_MAX))


def said(value: Any) -> str:
    """A sent value in a message: a text as it is, of anything else its type."""
    return f"'{truncated(value)}'" if isinstance(value, str) else js_type(value)


def check_options(sent: Mapping[str, Any], at: str) -> None:
    """Raise `ValidationError` for what no criterion may have, be it a comparison or a group."""
    operator, joined = sent.get("operator"), sent.get("criteriaOperator")
    if operator is not None and operator not in OPERATORS:
        raise ValidationError.at(
            f"{at}/operator",
            f"Field '{place_name(at)}.operator' must be one of {', '.join(OPERATORS)},"
            f" got {said(operator)}",
        )
    if joined is not None:
        check_criteria_operator(joined, at)
    below = sent.get("includeSubcategories")
    if below is not None and not isinstance(below, bool):
        raise ValidationError.at(
            f"{at}/includeSubcategories",
            f"Field '{place_name(at)}.includeSubcategories' must be a boolean,"
            f" got {js_type(below)}",
        )
    _check_state(sent, at)


def sort_order(sent: Mapping[str, Any], at: str) -> str:
    """`asc` or `desc`. Raises `ValidationError` for what no sort key may have."""
    order = sent.get("order", "asc")
    if order not in ("asc", "desc"):
        raise ValidationError.at(
            f"{at}/order",
            f"Field '{place_name(at)}.order' must be 'asc' or 'desc', got {said(order)}",
        )
    _check_state(sent, at)
    return str(order)


def _check_state(sent: Mapping[str, Any], at: str) -> None:
    state = sent.get("stateId")
    if state is not None and not isinstance(state, str):
        raise ValidationError.at(
            f"{at}/stateId",
            f"Field '{place_name(at)}.stateId' must be a string, got {js_type(state)}",
        )


def check_criteria_operator(operator: Any, at: str) -> None:
    """Raise `ValidationError` unless it says how criteria are joined."""
    if operator not in ("and", "or"):
        at = f"{at}/criteriaOperator"
        raise ValidationError.at(
            at, f"Field '{place_name(at)}' must be 'and' or 'or', got {said(operator)}"
        )

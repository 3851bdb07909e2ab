"""Completeness as a criterion and as a sort key: scored for a state, in a scope, for one caller."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from records_service.blueprint.blueprint import Blueprint
from records_service.permissions.rules import Role
from records_service.search.naming import place_name
from records_service.search_scores.rules import Rules, TooManyRules, rules_of
from records_service.search_scores.sql import score_in_sql
from records_service.search_scores.views import stored_of, view_key
from shared.errors import ValidationError, truncated

COMPLETENESS: Final = "completeness"
_NESTED: Final = "criteria"


@dataclass(frozen=True, slots=True)
class Scored:
    """The completeness that the caller is told of each record."""

    rules: Rules
    scope: Mapping[str, str]
    """Completed."""
    view: int | None = None
    """The key of the stored scores, if all records that may be found have theirs."""
    is_total: bool = False
    """Whether each of them has one; without a workflow with the state, a record has none."""

    @property
    def is_walked(self) -> bool:
        """Whether a page in the order of scores can be walked to."""
        return self.view is not None and self.is_total

    def sql(self, arguments: Any, row: str = "r.") -> str:
        """The expression of the score, over a row with `schema_id`, `state_id` and `values`.

        It is NULL where the record has no score, because its workflow has no such state.
        `arguments` are the `Arguments` of the statement.
        """
        scope = orjson.dumps(self.scope).decode()
        state = arguments.state_of(row)
        values = arguments.values_of(row.removesuffix("."))
        return score_in_sql(self.rules, scope, state, arguments.name, row, values)


def scored(
    blueprint: Blueprint,
    role: Role | None,
    schema_ids: Sequence[str],
    sent: Mapping[str, Any],
    at: str,
    scope: Mapping[str, str],
    digests: Mapping[str, str],
) -> Scored:
    """The completeness that a criterion or a sort key names. Raises `ValidationError`.

    `schema_ids` are the schemas whose records may be found, and `digests` tell by which rules all
    records of each schema are scored.
    """
    state: str | None = sent.get("stateId")
    if state is not None and not any(
        each.state_named(state) for each in blueprint.workflows.values()
    ):
        raise ValidationError.at(f"{at}/stateId", f"Unknown state '{truncated(state)}'")
    try:
        rules = rules_of(blueprint, role, schema_ids, state)
        having = _having(blueprint, schema_ids, state)
        view = _view(blueprint, role, rules, having, state, scope, digests)
        return Scored(rules, scope, view, len(having) == len(schema_ids))
    except TooManyRules:
        raise ValidationError.at(
            at,
            f"Field '{place_name(at)}': too many attributes are required in all schemas together;"
            " name a schema by 'schemaId'",
        ) from None


def _having(
    blueprint: Blueprint, schema_ids: Sequence[str], state: str | None
) -> dict[str, str | None]:
    """The schemas whose records have a score, each with the id of the state."""
    if state is None:
        return dict.fromkeys(schema_ids)
    found = {}
    for schema_id in schema_ids:
        workflow = blueprint.workflows.get(blueprint.schemas[schema_id].workflow_id or "")
        named = workflow.state_named(state) if workflow else None
        if named is not None:
            found[schema_id] = named.id
    return dict(found)


def _view(
    blueprint: Blueprint,
    role: Role | None,
    rules: Rules,
    having: Mapping[str, str | None],
    state: str | None,
    scope: Mapping[str, str],
    digests: Mapping[str, str],
) -> int | None:
    """The key of the stored scores, if the caller is told the same of each record."""
    state_ids = set(having.values())
    if len(state_ids) != 1 or not digests:
        return None
    if role is not None and rules != rules_of(blueprint, None, list(having), state):
        return None
    key = view_key(blueprint, state_ids.pop(), scope)
    for schema_id in having:
        stored = stored_of(blueprint, schema_id) if key is not None else None
        if (
            stored is None
            or stored.digest != digests.get(schema_id)
            or all(each.key != key for each in stored.views)
        ):
            return None
    return key


def asks_for_scores(criteria: Any, sort: Sequence[Any]) -> bool:
    """Whether a search names completeness, as it was sent; it takes a moment to make its rules."""
    return any(each.get("field") == COMPLETENESS for each in every_object(criteria, sort))


def every_object(criteria: Any, sort: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """The criteria, those in groups too, and the sort keys of a search, as they were sent."""
    waiting = [*sort, *(criteria if isinstance(criteria, list) else ())]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            inner = one.get(_NESTED)
            waiting += inner if isinstance(inner, list) else ()

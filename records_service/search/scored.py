"""Completeness as a criterion and as a sort key: scored for a state, in a scope, for one caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from records_service.blueprint.blueprint import Blueprint
from records_service.permissions.rules import Role
from records_service.search.naming import place_name
from records_service.search_scores.rules import Rules, TooManyRules, rules_of
from records_service.search_scores.sql import score_in_sql
from shared.errors import ValidationError, truncated
from shared.http.json_types import js_type

COMPLETENESS: Final = "completeness"
_NESTED: Final = "criteria"


@dataclass(frozen=True, slots=True)
class Scored:
    """The completeness that the caller is told of each record."""

    rules: Rules
    scope: Mapping[str, str]
    """Completed."""

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
) -> Scored:
    """The completeness that a criterion or a sort key names. Raises `ValidationError`.

    `schema_ids` are the schemas whose records may be found.
    """
    state = sent.get("stateId")
    if state is not None and not isinstance(state, str):
        raise ValidationError.at(
            f"{at}/stateId",
            f"Field '{place_name(at)}.stateId' must be a string, got {js_type(state)}",
        )
    if state is not None and not any(
        each.state_named(state) for each in blueprint.workflows.values()
    ):
        raise ValidationError.at(f"{at}/stateId", f"Unknown state '{truncated(state)}'")
    try:
        return Scored(rules_of(blueprint, role, schema_ids, state), scope)
    except TooManyRules:
        raise ValidationError.at(
            at,
            f"Field '{place_name(at)}': too many attributes are required in all schemas together;"
            " name a schema by 'schemaId'",
        ) from None


def asks_for_scores(criteria: Any, sort: Sequence[Any]) -> bool:
    """Whether a search names completeness, as it was sent; it takes a moment to make its rules."""
    waiting = [*sort, *(criteria if isinstance(criteria, list) else ())]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if one.get("field") == COMPLETENESS:
                return True
            inner = one.get(_NESTED)
            waiting += inner if isinstance(inner, list) else ()
    return False

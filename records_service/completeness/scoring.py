"""Scores a record for lifecycle states, as far as a caller may be told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from records_service.blueprint.compiled_schema import Access, CompiledSchema
from records_service.context import Context
from records_service.records.loading import LoadedRecord
from records_service.records.relations import find_related
from records_service.values.completeness import Completeness, Resolution, completeness
from records_service.values.entries import Scope, completed
from shared.http import to_json
from shared.process.offload import Large

LOOKED_AT_MAX = 2_000
"""How many attributes of states are scored at once on the event loop: a few milliseconds."""


async def resolution(
    context: Context, loaded: LoadedRecord, scope: Scope | None = None
) -> Resolution:
    """The values of a record in a scope, or in the default one, to be scored for any state.

    A relation to a deleted record is no value.
    """
    schema, record = loaded.schema, loaded.record
    is_large = isinstance(record.values, Large)
    related = await find_related(context, [(record.values, schema)], is_large=is_large)
    values = await context.run(is_large, related.living, record.values, schema.relations)
    return Resolution(schema.attributes, values, completed(scope or {}, schema.default_scope))


def is_much(loaded: LoadedRecord, states: int) -> bool:
    """Whether so much has to be looked at for these many states that a thread does it."""
    return (
        isinstance(loaded.record.values, Large)
        or states * len(loaded.schema.attributes) > LOOKED_AT_MAX
    )


def score(
    schema: CompiledSchema, found: Resolution, state_id: str | None, access: Access | None = None
) -> Completeness:
    """The record's completeness for a state; with `access`, as far as it may be told."""
    required = schema.required_in(schema.state_of(state_id))
    if access is not None:
        required = [each for each in required if each.id in access.judged]
    return completeness(required, found)


class MissingPlaces:
    """The aliases of attributes, and the scope in which a value of each is missing.

    Each is written as JSON once, however many states or transitions name it.
    """

    def __init__(self, visible: Mapping[str, str], at: Resolution) -> None:
        self.visible = visible
        self._at = at
        self._written: dict[str, orjson.Fragment] = {}

    def of(self, attribute_id: str) -> orjson.Fragment:
        """The attribute and its scope, as JSON."""
        if attribute_id not in self._written:
            self._written[attribute_id] = orjson.Fragment(
                to_json(
                    {
                        "attribute": self.visible[attribute_id],
                        "scope": self._at.scope_of(attribute_id),
                    }
                )
            )
        return self._written[attribute_id]


def score_fields(found: Completeness, places: MissingPlaces) -> dict[str, Any]:
    """The fields of an answer that tell a score, with the aliases of attributes."""
    return {
        "score": found.score,
        "filled": [places.visible[i] for i in found.filled],
        "missing": [places.visible[i] for i in found.missing],
        "missingIn": [places.of(i) for i in found.missing],
    }

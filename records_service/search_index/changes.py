"""What a write of a record changes in the search index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from records_service.blueprint.compiled_schema import CompiledSchema
from records_service.search_index.terms import Indexed, Plan, indexed, is_same, plan_of
from records_service.values.entries import Values

_PLAN: Final = "search_index"


@dataclass(frozen=True, slots=True)
class IndexChange:
    """What an update changes of what the index holds of a record."""

    bucket: int
    terms: Sequence[int]
    """All that it has afterwards."""
    numbers: Sequence[tuple[int, int, float]]
    """Those that are new or another one at their position, as in `Indexed`."""
    gone: Sequence[tuple[int, int]]
    """Keys and positions at which there is no number any more."""
    every_number: Sequence[tuple[int, int, float]]
    """All that it has afterwards."""


def plan_for(schema: CompiledSchema) -> Plan | None:
    """What the index holds of the records of a schema, None where the workspace has no index."""
    if not schema.is_indexed:
        return None
    plan: Plan | None = schema.derived.get(_PLAN)
    if plan is None:
        plan = plan_of(schema.workspace_id, schema.definition.id, schema.attributes.values())
        schema.derived[_PLAN] = plan
    return plan


def indexed_in(schema: CompiledSchema, record_id: str, values: Values) -> Indexed | None:
    """What the index holds of a record, None where the workspace has no index."""
    plan = plan_for(schema)
    return None if plan is None else indexed(plan, record_id, values)


def change_in(
    schema: CompiledSchema, record_id: str, old: Values, new: Values
) -> IndexChange | None:
    """What an update changes in the index, None for nothing.

    The numbers that the index holds are taken to be those of the old values. They may be others
    until the schema is built anew after a change of the model; then all of them are replaced.
    """
    plan = plan_for(schema)
    if plan is None or is_same(plan, old, new):
        return None
    before, after = indexed(plan, record_id, old), indexed(plan, record_id, new)
    if before == after:
        return None
    known = set(before.numbers)
    places = {(key, entry) for key, entry, _ in after.numbers}
    return IndexChange(
        after.bucket,
        after.terms,
        [each for each in after.numbers if each not in known],
        [(key, entry) for key, entry, _ in before.numbers if (key, entry) not in places],
        after.numbers,
    )

"""Finds the records that a record names, and checks that they exist."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from records_service.blueprint.compiled_schema import CompiledSchema
from records_service.context import Context
from records_service.records import store
from records_service.values.entries import Values
from records_service.values.relations import Related, Relation, named
from shared.errors import ValidationError, Violation, truncated

_NONE: Final = Related()


async def find_related(
    context: Context, records: Collection[tuple[Values, CompiledSchema]], *, is_large: bool = False
) -> Related:
    """Which of the records that these values name exist; one statement if they name any."""
    if not any(schema.relations for _, schema in records):
        return _NONE
    asked, in_order = await context.run(is_large, _named_in, records)
    if not asked:
        return _NONE
    async with context.database.acquire() as conn:
        return Related(asked, await store.schema_ids_of(conn, context.workspace_id, in_order))


async def check_relations(
    context: Context, schema: CompiledSchema, old: Values, new: Values, *, is_large: bool
) -> None:
    """Raise `ValidationError` for a named record that does not exist or is of another schema.

    Entries that were not sent may name deleted records: they stay stored, and are no value.
    """
    if not schema.relations:
        return
    sent = await context.run(is_large, sent_relations, schema, old, new)
    found = await find_related(context, [(sent, schema)], is_large=is_large)
    await context.run(is_large, check_related, schema, sent, found)


def _named_in(
    records: Collection[tuple[Values, CompiledSchema]],
) -> tuple[frozenset[str], list[str]]:
    """The ids that these values name, as a set and in order."""
    found = frozenset(i for values, schema in records for i in named(values, schema.relations))
    return found, sorted(found)


def sent_relations(schema: CompiledSchema, old: Values, new: Values) -> Values:
    """The entries of relations that are new in `new`."""
    return {
        attribute_id: [entry for entry in new[attribute_id] if id(entry) not in kept]
        for attribute_id in schema.relations.keys() & new.keys()
        for kept in [set(map(id, old.get(attribute_id, ())))]
    }


def check_related(schema: CompiledSchema, sent: Values, found: Related) -> None:
    """Raise `ValidationError` for a named record that was not found or is of another schema."""
    ValidationError.check(
        Violation(f"/values/{schema.attributes[attribute_id].alias}", message)
        for attribute_id in schema.relations
        if attribute_id in sent
        for place in schema.relations[attribute_id]
        for record_id in sorted(set(place.named(sent[attribute_id])))
        for message in [_relation_fault(place, record_id, (found.schemas or {}).get(record_id))]
        if message
    )


def _relation_fault(place: Relation, record_id: str, schema_id: str | None) -> str | None:
    if schema_id is None:
        return (
            f"Value for '{truncated(place.name)}' is not an existing record:"
            f" '{truncated(record_id)}' not found"
        )
    if place.target_schema_id not in (None, schema_id):
        return (
            f"Value for '{truncated(place.name)}' must be a record of schema"
            f" '{truncated(place.target_schema_id)}', got '{truncated(record_id)}' of"
            f" '{truncated(schema_id)}'"
        )
    return None

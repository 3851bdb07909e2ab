"""Loads a variant with its record's state and the data model of that moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from records_service.blueprint.blueprint import BLUEPRINTS, Blueprint
from records_service.blueprint.compiled_schema import CompiledSchema, compiled_schema
from records_service.context import Context
from records_service.records.relations import find_related
from records_service.values.entries import Values
from records_service.values.relations import Related
from records_service.variants import store
from records_service.variants.inheritance import inherited_values
from records_service.workflow_copies.model import State
from records_service.writes.model import Record, Variant
from shared.errors import NotFound
from shared.process.offload import Large


@dataclass(frozen=True, slots=True)
class LoadedVariant:
    """A variant as it was read, its record, and the data model of that moment.

    `ancestors` are the values of the record and of the variants above this one, from the top down;
    `load_variant` leaves out both them and the values of the record.
    """

    variant: Variant
    record: Record
    blueprint: Blueprint
    schema: CompiledSchema
    state: State | None
    ancestors: Sequence[Values] = ()

    @property
    def is_large(self) -> bool:
        """Whether work on these values belongs in a thread."""
        return any(isinstance(each, Large) for each in (self.variant.values, *self.ancestors))

    async def related(self, context: Context) -> Related:
        """Which of the records that the variant or one above it names exist."""
        named = [(values, self.schema) for values in (self.variant.values, *self.ancestors)]
        return await find_related(context, named, is_large=self.is_large)

    def inherited(self, related: Related) -> Values:
        """What comes from above; a relation to a deleted record is no value."""
        relations = self.schema.relations
        living = (related.living(values, relations) for values in self.ancestors)
        return inherited_values(living, self.schema.attributes)


async def load_variant(context: Context, record_id: str, variant_id: str) -> LoadedVariant:
    """The variant, or `NotFound` for the record or for the variant."""
    async with context.database.acquire() as conn:
        found = await store.find(conn, context.workspace_id, record_id, variant_id)
    return await _loaded(context, found, record_id, variant_id)


async def load_with_ancestors(context: Context, record_id: str, variant_id: str) -> LoadedVariant:
    """As `load_variant`, with all that the variant may inherit."""
    async with context.database.acquire() as conn:
        found = await store.find_with_ancestors(conn, context.workspace_id, record_id, variant_id)
    return await _loaded(context, found, record_id, variant_id)


async def model_of(
    context: Context, record: Record, model_version: int
) -> tuple[Blueprint, CompiledSchema, State | None]:
    """The data model of that moment, the record's schema, and its state."""
    blueprint = await context.app[BLUEPRINTS].at(
        context.database, context.workspace_id, model_version
    )
    schema = await compiled_schema(blueprint, record.schema_id)
    return blueprint, schema, schema.state_of(record.state_id)


async def _loaded(
    context: Context, found: store.Found | None, record_id: str, variant_id: str
) -> LoadedVariant:
    if found is None:
        raise NotFound.of("Entity", record_id)
    if found.variant is None:
        raise NotFound.of("Variant", variant_id)
    blueprint, schema, state = await model_of(context, found.record, found.model_version)
    return LoadedVariant(found.variant, found.record, blueprint, schema, state, found.ancestors)

"""Converts the values of records and variants, with their history, events and search index."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from records_service.attributes.model import Attribute, AttributeType
from records_service.blueprint.blueprint import Blueprint
from records_service.blueprint.compiled_schema import CompiledSchema, compiled_schema
from records_service.conversions import store
from records_service.conversions.holders import Slice
from records_service.conversions.model import Conversion
from records_service.conversions.rules import Converter, new_body
from records_service.model_objects.model import ModelObject
from records_service.option_lists.lookup import Options
from records_service.option_lists.lookup_store import labels_of, look_up
from records_service.progress.model import SAMPLES_MAX, Counts, Sample
from records_service.search_index.changes import change_of_model
from records_service.search_texts import store as search_texts
from records_service.values.entries import Entries
from records_service.values.types import value_check
from records_service.writes import batches, effects, variant_batches
from records_service.writes.changes import entry_changes, patch
from records_service.writes.model import PendingUpdate, Record, Variant
from records_service.writes.variant_batches import PendingVariantUpdate
from shared.database import Conn
from shared.errors import truncated
from shared.identity import Identity
from shared.process.offload import in_thread

Forms = tuple[CompiledSchema, CompiledSchema]
"""A schema before the conversion and after it."""


@dataclass(slots=True)
class Outcome:
    """What became of the records and variants that have a value."""

    updated: int = 0
    unchanged: int = 0
    failed: int = 0
    samples: list[Sample] = field(default_factory=list)

    @property
    def counts(self) -> Counts:
        """As they are told."""
        return Counts(updated=self.updated, unchanged=self.unchanged, failed=self.failed)


async def converter_of(
    conn: Conn,
    workspace_id: str,
    old: ModelObject,
    form: Mapping[str, Any],
    held: Sequence[Entries],
) -> Converter:
    """What converts these entries: all that it needs to know of option lists has been looked up."""
    before = Attribute.parse(old)
    after = Attribute.parse(dataclasses.replace(old, body=new_body(old.body, form)))
    wanted = [one.option_list_id for one in (before, after) if one.option_list_id is not None]
    lists = await store.option_lists(conn, workspace_id, wanted)
    labels: Mapping[str, str] = {}
    if before.type is AttributeType.OPTION and before.option_list_id is not None:
        chosen = await in_thread(_items, before, held)
        found = await labels_of(conn, workspace_id, {before.option_list_id: chosen})
        labels = found.get(before.option_list_id, {})
    options = Options()
    check = value_check(after, truncated(old.alias), lists)
    converter = Converter(before, after, check, lists, options, labels)
    to = lists.get(after.option_list_id or "")
    if to is not None and to.is_large:
        await in_thread(faults_of, converter, held)
        await look_up(conn, workspace_id, options)
    return converter


def faults_of(converter: Converter, held: Sequence[Entries]) -> list[str | None]:
    """Of each of these entries, the first reason why they cannot all be converted."""
    return [next(iter(converter.entries(entries)[1]), None) for entries in held]


async def convert_all(
    conn: Conn,
    workspace_id: str,
    old: ModelObject,
    one: Conversion,
    before: Blueprint,
    after: Blueprint,
    slices: Sequence[Slice],
) -> Outcome:
    """Convert these, which are all that have a value. The caller holds the model lock."""
    conversion = _Conversion(conn, workspace_id, old, one, before, after)
    for each in slices:
        if each.table == "records":
            await conversion.records(each.ids)
        else:
            await conversion.variants(each.ids)
    # All texts are indexed anew: what is a text now need not have changed.
    await search_texts.forget_attribute(conn, workspace_id, old.id)
    return conversion.outcome


class _Conversion:
    def __init__(
        self,
        conn: Conn,
        workspace_id: str,
        old: ModelObject,
        one: Conversion,
        before: Blueprint,
        after: Blueprint,
    ) -> None:
        self._conn, self._workspace_id, self._old, self._one = conn, workspace_id, old, one
        self._before, self._after = before, after
        self._identity = Identity("user", one.user_id, workspace_id)
        self.outcome = Outcome()

    async def records(self, record_ids: Sequence[str]) -> None:
        rows = await store.records(self._conn, self._workspace_id, self._old.id, record_ids)
        records = await in_thread(lambda: [store.record_of(row) for row in rows])
        converter = await self._converter([record.values for record in records])
        forms = await self._forms({record.schema_id for record in records})
        pending = await in_thread(self._record_updates, records, converter, forms)
        if pending:
            await batches.update_many(self._conn, pending, model_version=self._after.version)

    async def variants(self, variant_ids: Sequence[str]) -> None:
        rows = await store.variants(self._conn, self._workspace_id, self._old.id, variant_ids)
        variants = await in_thread(lambda: [store.variant_of(row) for row in rows])
        converter = await self._converter([variant.values for _, variant in variants])
        pending = await in_thread(self._variant_updates, variants, converter)
        if pending:
            await variant_batches.update_many(
                self._conn, pending, model_version=self._after.version
            )

    def _record_updates(
        self, records: Sequence[Record], converter: Converter, forms: Mapping[str, Forms]
    ) -> list[PendingUpdate]:
        pending = []
        for record in records:
            values = self._converted(converter, record.values, Sample(record.id, ""))
            if values is None:
                continue
            changed = dataclasses.replace(
                record,
                values=values,
                version=record.version + 1,
                updated_at=effects.now(record.updated_at),
                updated_by=self._identity.id,
            )
            write = effects.update_of(self._identity, changed, self._changes(record.values, values))
            index_change = None
            if self._after.is_indexed:
                index_change = change_of_model(
                    *forms[record.schema_id], record.id, record.values, values
                )
            pending.append(
                PendingUpdate(changed, *patch(record.values, values), [], [], write, index_change)
            )
        return pending

    def _variant_updates(
        self, variants: Sequence[tuple[Record, Variant]], converter: Converter
    ) -> list[PendingVariantUpdate]:
        pending = []
        for record, variant in variants:
            values = self._converted(converter, variant.values, Sample(record.id, "", variant.id))
            if values is None:
                continue
            changed = dataclasses.replace(
                variant,
                values=values,
                version=variant.version + 1,
                updated_at=effects.now(variant.updated_at),
                updated_by=self._identity.id,
            )
            changes = self._changes(variant.values, values)
            write = effects.variant_update_of(self._identity, record, changed, changes)
            pending.append(PendingVariantUpdate(record, changed, write))
        return pending

    async def _forms(self, schema_ids: Collection[str]) -> Mapping[str, Forms]:
        if not self._after.is_indexed:
            return {}
        return {
            schema_id: (
                await compiled_schema(self._before, schema_id),
                await compiled_schema(self._after, schema_id),
            )
            for schema_id in schema_ids
        }

    async def _converter(self, held: Sequence[Mapping[str, Entries]]) -> Converter:
        entries = [values[self._old.id] for values in held]
        return await converter_of(
            self._conn, self._workspace_id, self._old, self._one.form, entries
        )

    def _converted(
        self, converter: Converter, values: Mapping[str, Entries], holder: Sample
    ) -> dict[str, Entries] | None:
        """The values after the conversion, None if they are as they were."""
        entries, faults = converter.entries(values[self._old.id])
        if faults:
            self.outcome.failed += 1
            if len(self.outcome.samples) < SAMPLES_MAX:
                self.outcome.samples.append(dataclasses.replace(holder, reason=faults[0]))
        if not self._changes(values, {self._old.id: entries}):
            self.outcome.unchanged += not faults
            return None
        self.outcome.updated += not faults
        rest = {name: held for name, held in values.items() if name != self._old.id}
        return {**rest, self._old.id: entries} if entries else rest

    def _changes(
        self, before: Mapping[str, Entries], after: Mapping[str, Entries]
    ) -> list[dict[str, Any]]:
        name = self._old.id
        return entry_changes(name, self._old.alias, before[name], after.get(name, []))


def _items(attribute: Attribute, held: Sequence[Entries]) -> set[str]:
    return {
        item
        for entries in held
        for entry in entries
        for item in (entry["value"] if attribute.multiple else [entry["value"]])
    }

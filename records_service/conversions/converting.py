"""What the values of records and variants will be after a conversion, and what cannot be."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from records_service.attributes.model import Attribute, AttributeType
from records_service.conversions import store
from records_service.conversions.model import Conversion
from records_service.conversions.rules import Converter, new_body
from records_service.model_objects.model import ModelObject
from records_service.model_objects.search_store import ValueTable
from records_service.option_lists.lookup import Options
from records_service.option_lists.lookup_store import labels_of, look_up
from records_service.progress.model import Counts, Sample
from records_service.values.entries import Entries
from records_service.values.types import value_check
from records_service.writes import settling_store
from records_service.writes.changes import entry_changes
from shared.database import Conn, Record
from shared.errors import truncated
from shared.process.offload import in_thread


@dataclass(slots=True)
class Prepared:
    """What becomes of records and variants, by table and id.

    `entries` are those that they will have, as JSON, and None where they stay as they are.
    """

    entries: dict[ValueTable, dict[str, bytes | None]] = field(
        default_factory=lambda: {"records": {}, "variants": {}}
    )
    samples: list[Sample] = field(default_factory=list)
    faulty: list[tuple[ValueTable, str]] = field(default_factory=list)
    unchanged: int = 0
    skipped: int = 0
    """Those without a value."""

    @property
    def looked_at(self) -> list[tuple[ValueTable, str]]:
        """All of them."""
        return [(table, one) for table, found in self.entries.items() for one in found]

    @property
    def counts(self) -> Counts:
        """As they are told; what has a fault counts as that alone."""
        failed, unchanged, skipped = len(self.faulty), self.unchanged, self.skipped
        updated = len(self.looked_at) - failed - unchanged - skipped
        return Counts(updated=updated, unchanged=unchanged, skipped=skipped, failed=failed)


async def prepare(
    conn: Conn,
    workspace_id: str,
    old: ModelObject,
    one: Conversion,
    rows: Sequence[Record],
    *,
    clears: bool,
) -> Prepared:
    """What becomes of these, rows of `schema_walks`; stored beside their values.

    With `clears`, what was prepared of those that stay as they are is removed.
    """
    held = await in_thread(lambda: [orjson.loads(row["entries"] or "[]") for row in rows])
    converter = await _converter(conn, workspace_id, old, one.form, held)
    prepared = await in_thread(_prepared, converter, old, rows, held)
    for table, found in prepared.entries.items():
        entries = found
        if not clears:
            entries = {each: after for each, after in found.items() if after is not None}
        if entries:
            await settling_store.prepare(conn, workspace_id, old.id, table, entries)
    return prepared


def _prepared(
    converter: Converter, old: ModelObject, rows: Sequence[Record], held: Sequence[Entries]
) -> Prepared:
    prepared = Prepared()
    for row, before in zip(rows, held, strict=True):
        table: ValueTable = "records" if row["variant_id"] is None else "variants"
        one_id = row["variant_id"] or row["record_id"]
        after, faults = converter.entries(before)
        is_changed = bool(entry_changes(old.id, old.alias, before, after))
        prepared.entries[table][one_id] = orjson.dumps(after) if is_changed else None
        if faults:
            prepared.faulty.append((table, one_id))
            prepared.samples.append(Sample(row["record_id"], faults[0], row["variant_id"]))
        elif not before:
            prepared.skipped += 1
        elif not is_changed:
            prepared.unchanged += 1
    return prepared


async def _converter(
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
        await in_thread(lambda: [converter.entries(entries) for entries in held])
        await look_up(conn, workspace_id, options)
    return converter


def _items(attribute: Attribute, held: Sequence[Entries]) -> set[str]:
    return {
        item
        for entries in held
        for entry in entries
        for item in (entry["value"] if attribute.multiple else [entry["value"]])
    }

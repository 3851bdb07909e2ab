"""Reads the records of a channel, page by page, as the caller may see them in one scope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from records_service.attributes.model import Attribute
from records_service.blueprint.blueprint import BLUEPRINTS
from records_service.blueprint.compiled_schema import CompiledSchema, compiled_schema
from records_service.channel_records.model import BYTES_AT_ONCE, ChannelQuery
from records_service.channel_records.names import Named, look_up
from records_service.channel_records.option_names import names_in
from records_service.context import Context
from records_service.exports import store
from records_service.exports.families import Families
from records_service.exports.rows import Line
from records_service.exports.store import FamilyPosition, Filter, Part
from records_service.exports.walk import EXPORTS
from records_service.records.relations import find_related
from records_service.values.entries import completed, resolve
from records_service.values.relations import Related
from shared.database import Conn
from shared.database.listing import BEGINNING, Position
from shared.process.offload import in_thread


async def page(context: Context, asked: ChannelQuery) -> dict[str, Any]:
    """Some records, oldest first, and where the next page begins (null at the end).

    `values` has each visible attribute of those that were asked for, null where it has no value. So
    an attribute that is absent is hidden from the caller, or the schema does not have it. `options`
    has what the options in them are called. Raises what `look_up` raises.
    """
    named = await look_up(context, asked)
    part = await context.app[EXPORTS].read(
        context.database, context.workspace_id, partial(_records, context, asked, named)
    )
    schemas = await _schemas_of(context, part)
    found = (store.record_of(context.workspace_id, row) for row in part.rows)
    lines = [Line(each, schemas[each.schema_id]) for each in found if each.schema_id in schemas]
    kept, last = await _with_variants(context, lines, part)
    values = [(each, line.schema) for line in kept for each in (line.own, *line.above)]
    related = await find_related(context, values)
    defaults = {each.id: each.default_segment_id for each in named.blueprint.dimensions.values()}
    scope = completed(named.scope, defaults)
    records = await in_thread(_shown, context, kept, related, named.attributes, scope)
    segment_ids = list(scope.values())
    return {
        "records": records,
        "options": await names_in(context, named.blueprint, named.attributes, records, segment_ids),
        "next": None if last is None else [last[0].isoformat(), last[1]],
    }


async def _records(context: Context, asked: ChannelQuery, named: Named, conn: Conn) -> Part:
    """The next records; `last` is None at the end."""
    workspace_id, wanted = context.workspace_id, Filter(named.schema_id)
    if named.catalog_id is None:
        return await store.read_part(
            conn, workspace_id, wanted, asked.after, store.THE_END, rows_max=asked.limit
        )
    positions = await store.assigned_after(
        conn,
        workspace_id,
        named.catalog_id,
        context.role,
        asked.after or BEGINNING,
        rows_max=asked.limit,
    )
    if not positions:
        return Part((), None, 0)
    ids = [record_id for _, record_id in positions]
    part = await store.read_part(conn, workspace_id, replace(wanted, ids=ids), None, store.THE_END)
    is_cut = sum(len(row["document"].encode()) for row in part.rows) >= store.BYTES_AT_ONCE
    return part if is_cut else replace(part, last=positions[-1])


async def _with_variants(
    context: Context, lines: Sequence[Line], part: Part
) -> tuple[Sequence[Line], Position | None]:
    """The records with their variants behind them, and the position of the last one.

    A page ends before the record with whose variants it would have too many bytes, unless that is
    its first one.
    """
    families = Families(lines)
    ids = [line.record.id for line in lines]
    found: list[Line] = []
    after: FamilyPosition | None = None
    size = sum(len(row["document"]) for row in part.rows)
    while ids:
        variants = await context.app[EXPORTS].read(
            context.database,
            context.workspace_id,
            partial(
                store.read_variants,
                workspace_id=context.workspace_id,
                record_ids=ids,
                after=after,
            ),
        )
        if not variants.rows:
            break
        schemas = await _schemas_of(context, variants)
        found += await in_thread(families.up_to, variants.rows, schemas)
        last = variants.rows[-1]
        after = last["place"], [*last["path"], last["id"]]
        size += sum(len(row["document"]) for row in variants.rows)
        if size > BYTES_AT_ONCE and last["place"] > 1:
            unfinished = last["record_id"]
            kept = [line for line in found if line.record.id != unfinished]
            if kept:
                last_kept = kept[-1].record
                return kept, (last_kept.created_at, last_kept.id)
    return [*found, *families.rest()], part.last


async def _schemas_of(context: Context, part: Part) -> dict[str, CompiledSchema]:
    blueprint = await context.app[BLUEPRINTS].at(
        context.database, context.workspace_id, part.model_version
    )
    return {
        schema_id: await compiled_schema(blueprint, schema_id)
        for schema_id in {row["schema_id"] for row in part.rows}
        if schema_id in blueprint.schemas
    }


def _shown(
    context: Context,
    lines: Sequence[Line],
    related: Related,
    attributes: Sequence[Attribute],
    scope: Mapping[str, str],
) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for line in lines:
        state_id = line.schema.state_id_of(line.record.state_id)
        visible = line.schema.access(context.role, state_id).visible
        held = line.effective(related)
        values = {
            each.id: resolve(held.get(each.id, ()), scope, each.dimension_ids)
            for each in attributes
            if each.id in visible
        }
        if line.variant is None:
            records.append(
                {
                    "id": line.record.id,
                    "version": line.record.version,
                    "values": values,
                    "variants": [],
                }
            )
        else:
            records[-1]["variants"].append({"id": line.variant.id, "values": values})
    return records

"""Loads a record together with the data model that was current at that moment.

Reads of many requests that arrive together are one statement (`records_service.data_loader`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web

from records_service.blueprint.blueprint import BLUEPRINTS, Blueprint
from records_service.blueprint.compiled_schema import CompiledSchema, compiled_schema
from records_service.context import Context
from records_service.data_loader import DataLoader
from records_service.records import store
from records_service.workflow_copies.model import State
from records_service.writes.model import Record
from shared.database import DATABASE
from shared.errors import NotFound


@dataclass(frozen=True, slots=True)
class LoadedRecord:
    """A record as it was read, with its data model of that moment."""

    record: Record
    blueprint: Blueprint
    schema: CompiledSchema
    state: State | None


RecordLoader = DataLoader[store.Key, tuple[Record, int]]

RECORD_LOADER = web.AppKey("record_loader", RecordLoader)


async def record_loader(app: web.Application) -> AsyncIterator[None]:
    """Provide `app[RECORD_LOADER]` while the service runs."""
    db = app[DATABASE]

    async def load(keys: Sequence[store.Key]) -> Mapping[store.Key, tuple[Record, int]]:
        async with db.acquire() as conn:
            return await store.get_many(conn, keys)

    app[RECORD_LOADER] = RecordLoader(load)
    yield


async def load_record(context: Context, record_id: str) -> LoadedRecord:
    """The record with its data model, or `NotFound`."""
    found = await context.app[RECORD_LOADER].get((context.workspace_id, record_id))
    if found is None:
        raise NotFound.of("Entity", record_id)
    record, model_version = found
    blueprint = await context.app[BLUEPRINTS].at(
        context.database, context.workspace_id, model_version
    )
    schema = await compiled_schema(blueprint, record.schema_id)
    return LoadedRecord(record, blueprint, schema, schema.state_of(record.state_id))

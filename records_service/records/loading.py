"""Loads a record together with the data model that was current at that moment.

Reads of many requests that arrive together are one statement (`records_service.data_loader`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from records_service.blueprint.blueprint import BLUEPRINTS, Blueprint
from records_service.blueprint.compiled_schema import CompiledSchema, compiled_schema
from records_service.data_loader import DataLoader
from records_service.records import store
from records_service.records.model import Record
from records_service.values.relations import Related, named
from records_service.values.scopes import Values
from records_service.workflow_copies.model import State
from shared.database import DATABASE
from shared.errors import NotFound
from shared.process.offload import OFFLOAD

_NONE: Final = Related()


@dataclass(frozen=True, slots=True)
class LoadedRecord:
    """A record as it was read, with the rules it is judged by."""

    record: Record
    blueprint: Blueprint
    rules: CompiledSchema
    state: State | None


RecordReads = DataLoader[store.Key, tuple[Record, int]]

READS = web.AppKey("record_reads", RecordReads)


async def reading(app: web.Application) -> AsyncIterator[None]:
    """Lend `app[READS]` while the service runs."""
    db = app[DATABASE]

    async def load(keys: Sequence[store.Key]) -> Mapping[store.Key, tuple[Record, int]]:
        async with db.acquire() as conn:
            return await store.get_many(conn, keys)

    app[READS] = RecordReads(load)
    yield


async def load_record(app: web.Application, workspace_id: str, record_id: str) -> LoadedRecord:
    """The record, or `NotFound`."""
    found = await app[READS].get((workspace_id, record_id))
    if found is None:
        raise NotFound.of("Entity", record_id)
    record, model_version = found
    blueprint = await app[BLUEPRINTS].at(app[DATABASE], workspace_id, model_version)
    rules = await compiled_schema(blueprint, record.schema_id)
    return LoadedRecord(record, blueprint, rules, rules.state_of(record.state_id))


async def related_of(
    app: web.Application,
    workspace_id: str,
    records: Collection[tuple[Values, CompiledSchema]],
    *,
    is_large: bool = False,
) -> Related:
    """Which of the records that these values name exist; one statement if they name any."""
    for _, rules in records:
        if rules.relations:
            break
    else:
        return _NONE

    def named_in_all() -> tuple[frozenset[str], list[str]]:
        every = frozenset(i for values, rules in records for i in named(values, rules.relations))
        return every, sorted(every)

    asked, in_order = await app[OFFLOAD].run_if(is_large, workspace_id, named_in_all)
    if not asked:
        return _NONE
    async with app[DATABASE].acquire() as conn:
        return Related(asked, await store.existing(conn, workspace_id, in_order))

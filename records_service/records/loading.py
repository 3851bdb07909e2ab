"""Loads a record together with the data model that was current at that moment.

Reads of one workspace that arrive together are one statement: sixteen cost one round trip and one
execution instead of sixteen, and a single one costs the same as before. Nothing is cached: a read
sees everything that was committed before it was requested.

Reads of two workspaces are two statements, because their rows may be on two nodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

from aiohttp import web

from records_service.blueprint.blueprint import BLUEPRINTS, Blueprint
from records_service.blueprint.compiled_schema import CompiledSchema, compiled_schema
from records_service.context import Context
from records_service.option_lists.lookup import Options
from records_service.option_lists.lookup_store import look_up
from records_service.records import store
from records_service.workflow_copies.model import State
from records_service.writes.changes import note_options
from records_service.writes.model import Record
from shared.database import DATABASE, REQUEST_TRANSACTION
from shared.errors import NotFound
from shared.process.waiting import ASKING

V = TypeVar("V")

BATCH_SIZE_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class LoadedRecord:
    """A record as it was read, with its data model of that moment."""

    record: Record
    blueprint: Blueprint
    schema: CompiledSchema
    state: State | None


async def load_record(context: Context, record_id: str) -> LoadedRecord:
    """The record with its data model, or `NotFound`."""
    if REQUEST_TRANSACTION.get() is None:
        found = await context.app[RECORD_LOADER].get(context.workspace_id, record_id)
    else:
        async with context.database.acquire() as conn:
            found = (await store.get_many(conn, context.workspace_id, [record_id])).get(record_id)
    if found is None:
        raise NotFound.of("Entity", record_id)
    record, model_version = found
    blueprint = await context.app[BLUEPRINTS].at(
        context.database, context.workspace_id, model_version
    )
    schema = await compiled_schema(blueprint, record.schema_id)
    if schema.state_moves:
        record = replace(record, state_id=schema.state_id_of(record.state_id))
    return LoadedRecord(record, blueprint, schema, schema.state_of(record.state_id))


async def load_options(
    context: Context, schema: CompiledSchema, sent: Mapping[str, Any], *, is_large: bool
) -> Options | None:
    """The options of large lists that these values name; one statement if they name any."""
    if not schema.chooses_from_large:
        return None
    options = Options()
    await context.run(is_large, note_options, schema, sent, options)
    if options.wanted:
        async with context.database.acquire() as conn:
            await look_up(conn, context.workspace_id, options)
    return options


class DataLoader(Generic[V]):
    """Reads by workspace and id, those of one workspace combined until the event loop's next turn.

    Two callers that ask for the same id of the same workspace get the same answer.
    """

    def __init__(self, load: Callable[[str, Sequence[str]], Awaitable[Mapping[str, V]]]) -> None:
        self._load = load
        self._wanted: dict[str, dict[str, list[asyncio.Future[V | None]]]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def get(self, workspace_id: str, record_id: str) -> V | None:
        """The value, or None where `load` found none; raises what `load` raised."""
        loop = asyncio.get_running_loop()
        if not self._wanted:
            loop.call_soon(self._begin)
        # One future per caller: cancelling one caller does not affect the others.
        answer: asyncio.Future[V | None] = loop.create_future()
        self._wanted.setdefault(workspace_id, {}).setdefault(record_id, []).append(answer)
        return await answer

    def _begin(self) -> None:
        wanted, self._wanted = self._wanted, {}
        for workspace_id, asked in wanted.items():
            ids = list(asked)
            for start in range(0, len(ids), BATCH_SIZE_MAX):
                batch = {one: asked[one] for one in ids[start : start + BATCH_SIZE_MAX]}
                task = asyncio.create_task(self._answer(workspace_id, batch))
                self._running.add(task)
                task.add_done_callback(self._running.discard)

    async def _answer(
        self, workspace_id: str, batch: Mapping[str, Sequence[asyncio.Future[V | None]]]
    ) -> None:
        # The statement serves several callers, so it waits in no caller's lane.
        ASKING.set(None)
        try:
            found = await self._load(workspace_id, list(batch))
        except Exception as error:  # noqa: BLE001 - It belongs to those who asked.
            for answers in batch.values():
                for answer in answers:
                    if not answer.done():
                        answer.set_exception(error)
            return
        for record_id, answers in batch.items():
            for answer in answers:
                if not answer.done():
                    answer.set_result(found.get(record_id))


RecordLoader = DataLoader[tuple[Record, int]]

RECORD_LOADER = web.AppKey("record_loader", RecordLoader)


async def record_loader(app: web.Application) -> AsyncIterator[None]:
    """Provide `app[RECORD_LOADER]` while the service runs."""
    db = app[DATABASE]

    async def load(workspace_id: str, ids: Sequence[str]) -> Mapping[str, tuple[Record, int]]:
        async with db.acquire() as conn:
            return await store.get_many(conn, workspace_id, ids)

    app[RECORD_LOADER] = RecordLoader(load)
    yield

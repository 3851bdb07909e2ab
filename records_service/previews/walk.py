"""Looks at the records of some schemas within a limited time, a slice at a time.

Between two slices nothing is held: no connection, no thread, no lock. Writes go on meanwhile, so a
figure is that of records as they were when their turn came.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Protocol

from aiohttp import web

from records_service.blueprint.compiled_schema import CompiledSchema, compile_schema
from records_service.context import Context
from records_service.previews import store
from records_service.previews.change import Change
from records_service.previews.judging import Judge, Row
from records_service.previews.store import Slice
from records_service.previews.tally import Tally, rows_of
from records_service.records.store import schema_ids_of
from records_service.values.relations import NOTHING_LOOKED_FOR, Related
from shared.database import Conn, ConnectionSlots
from shared.database.listing import Position
from shared.errors import ServiceUnavailable
from shared.process.waiting import KeyedSemaphore

PREVIEW_S: Final = 10.0
"""How long records are looked at."""
ANSWERING_S: Final = 2.0
"""What is left of the caller's time for the answer."""
SLICE_S: Final = 0.1
"""How long one slice should take; the next one is larger or smaller."""
SLICE_ROWS_MIN: Final = 50
"""Unless fewer rows have the bytes of a slice."""
SLICE_ROWS_MAX: Final = 5_000
FIRST_SLICE_ROWS: Final = 100
GROWTH_MAX: Final = 2
"""Compressed values may be much larger than they were measured: so a slice grows with care."""
PREVIEWS_OF_WORKSPACE_MAX: Final = 2
CONNECTIONS_SHARE: Final = 8
"""One in so many connections of a process is for previews."""

PREVIEWS: Final = web.AppKey("previews", KeyedSemaphore)
"""Places by workspace, each held for a whole preview."""
PREVIEW_SLICES: Final = web.AppKey("preview_slices", KeyedSemaphore)
"""Places of the process, each held for the reading of one slice."""


def slots(connections_max: int, wait_s: float) -> tuple[KeyedSemaphore, KeyedSemaphore]:
    """`PREVIEWS` and `PREVIEW_SLICES` of a process with so many connections."""
    of_workspace = ConnectionSlots(
        PREVIEWS_OF_WORKSPACE_MAX,
        wait_s=wait_s,
        message="Too many previews of this workspace are being computed at once",
    )
    return of_workspace, ConnectionSlots(
        max(1, connections_max // CONNECTIONS_SHARE),
        wait_s=wait_s,
        message="Too many previews are being computed at once",
    )


class Reading(Protocol):
    """Reads the next records, or variants, of a schema: `store.records_after`."""

    async def __call__(
        self,
        conn: Conn,
        workspace_id: str,
        schema_id: str,
        attribute_ids: Sequence[str],
        after: Position | None,
        *,
        rows_max: int,
    ) -> Slice:
        """What was read."""
        ...


async def preview(context: Context, change: Change) -> dict[str, Any]:
    """What the change would do, as it is answered.

    For a caller who may not read, no record is looked at: the HTTP edge leaves nothing of the
    answer. Raises `ServiceUnavailable` if too many previews are being computed.
    """
    if not context.identity.may_read:
        return {**Tally(names_records=False).settle(), "complete": False}
    async with context.app[PREVIEWS].of(context.workspace_id):
        return await Walk(context, change).answer()


class Walk:
    """One preview that is being computed."""

    def __init__(self, context: Context, change: Change) -> None:
        self._context = context
        self._change = change
        self._tally = Tally(names_records=context.identity.unrestricted)
        left_s = context.call.seconds_left
        budget_s = PREVIEW_S if left_s is None else min(PREVIEW_S, left_s - ANSWERING_S)
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + budget_s
        self._rows = FIRST_SLICE_ROWS

    async def answer(self) -> dict[str, Any]:
        """Look at as much as there is time for: one slice at least."""
        complete = True
        for schema_id in self._change.schema_ids:
            try:
                complete = await self._look_at(schema_id)
            except ServiceUnavailable:
                # Others need what it takes; what was seen is worth an answer.
                complete = False
            if not complete:
                break
        answered = await self._context.run(True, self._tally.settle)
        return {**answered, "complete": complete}

    async def _look_at(self, schema_id: str) -> bool:
        """Look at the records of a schema; whether all of them were looked at."""
        change = self._change
        if schema_id not in change.before.schemas:
            return True
        judge = await self._context.run(True, self._judge, schema_id)
        schema = change.before.schemas[schema_id]
        asks_variants = bool(judge.of_variants) or change.without_variants
        has_variants = schema.variant_enabled and asks_variants
        if not await self._walk(
            judge, store.records_after, judge.attribute_ids, schema_id, has_variants=has_variants
        ):
            return False
        return not has_variants or await self._walk(
            judge, store.variants_after, judge.of_variants, schema_id, has_variants=True
        )

    def _judge(self, schema_id: str) -> Judge:
        return Judge(
            self._change,
            _compiled(self._change.before, schema_id),
            _compiled(self._change.after, schema_id),
            self._context.role,
        )

    async def _walk(
        self,
        judge: Judge,
        read: Reading,
        attribute_ids: Sequence[str],
        schema_id: str,
        *,
        has_variants: bool,
    ) -> bool:
        after: Position | None = None
        while True:
            began = self._loop.time()
            found = await self._read(read, attribute_ids, schema_id, after)
            rows = await self._context.run(True, rows_of, attribute_ids, found.rows)
            related = await self._related(judge, rows)
            await self._context.run(
                True, self._tally.add, judge, rows, related, has_variants=has_variants
            )
            if found.last is None:
                return True
            if self._tally.is_full or self._loop.time() >= self._until:
                return False
            after = found.last
            self._resize(len(rows), self._loop.time() - began)

    async def _read(
        self, read: Reading, attribute_ids: Sequence[str], schema_id: str, after: Position | None
    ) -> Slice:
        context = self._context
        async with (
            context.app[PREVIEW_SLICES].of(None),
            context.database.acquire() as conn,
        ):
            return await read(
                conn, context.workspace_id, schema_id, attribute_ids, after, rows_max=self._rows
            )

    async def _related(self, judge: Judge, rows: list[Row]) -> Related:
        """Which of the records that these name exist."""
        asked = await self._context.run(True, judge.related_to, rows)
        if not asked:
            return NOTHING_LOOKED_FOR
        async with self._context.database.acquire() as conn:
            return Related(
                asked, await schema_ids_of(conn, self._context.workspace_id, sorted(asked))
            )

    def _resize(self, fitted: int, took_s: float) -> None:
        """Ask for as many rows as there is time for, or hardly more than had the bytes of one."""
        in_time = int(fitted * SLICE_S / max(took_s, SLICE_S / 10))
        wanted = min(SLICE_ROWS_MAX, max(SLICE_ROWS_MIN, in_time))
        self._rows = min(wanted, max(1, fitted) * GROWTH_MAX)


def _compiled(blueprint: Any, schema_id: str) -> CompiledSchema:
    known: CompiledSchema | None = blueprint.compiled.get(schema_id)
    return known or compile_schema(blueprint, schema_id)

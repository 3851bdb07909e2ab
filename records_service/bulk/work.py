"""One attempt at a group of rows, and what is done when others got in between.

Nothing is locked while rows are judged, as with single writes; if a record or the model changed
meanwhile, everything is read and judged again, and from the third time on with the records locked.
In a caller's transaction they are locked from the start.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, ParamSpec, TypeVar

import asyncpg

from records_service.blueprint.blueprint import BLUEPRINTS, Blueprint
from records_service.blueprint.compiled_schema import CompiledSchema, compiled_schema
from records_service.bulk import store
from records_service.bulk.model import Result
from records_service.bulk.store import Stored
from records_service.context import BaseContext, Context
from records_service.transitions.decisions import StaleDefinition, adopt
from records_service.writes.create_batching import WRITE_SLOTS
from records_service.writes.model import StaleModel, StaleRecord
from records_service.writes.settling import settle_first
from records_service.writes.state_moves import move_first
from shared.database import Conn, mapping_constraints
from shared.errors import NotFound, ServiceUnavailable
from shared.messaging import outbox

P = ParamSpec("P")
T = TypeVar("T")

WAVE_ROWS: Final = 1_000
"""How many rows are judged and written together."""
WORK_MEMORY: Final = "16MB"
"""For what a step of a statement keeps, as PostgreSQL writes it: more than a usual wave needs."""
OPTIMISTIC_ATTEMPTS: Final = 2
ATTEMPTS_MAX: Final = 20
PAUSE_S: Final = 0.01

STALE: Final = (StaleModel, StaleRecord, asyncpg.DeadlockDetectedError)
"""What was read is outdated: in a caller's transaction it has to be rolled back and begun again."""


@asynccontextmanager
async def transaction(context: BaseContext) -> AsyncIterator[Conn]:
    """A transaction whose statements are planned anew each time.

    A kept plan is that of the table as it was. In an empty database, that is to read the whole
    table for every group of rows, and it is kept while the first million records come in.
    """
    async with context.database.transaction() as conn:
        await plan_anew(conn)
        yield conn


async def plan_anew(conn: Conn) -> None:
    """The statements of this transaction are planned for the tables as they are now.

    They have room for a wave, or for a group of rows of an import: with less, PostgreSQL writes its
    values to temporary files. And they look records up: to read all that a table has is cheaper up
    to some 20,000 records, as the planner sees it, but all their values are put into a hash table.
    """
    await conn.fetchrow(
        """
        SELECT set_config('plan_cache_mode', 'force_custom_plan', true),
               set_config('work_mem', $1, true), set_config('enable_seqscan', 'off', true)
        """,
        WORK_MEMORY,
    )


@asynccontextmanager
async def plans_kept(conn: Conn) -> AsyncIterator[None]:
    """In the body, statements are planned once, as those of single writes are.

    To plan the statement that writes one row takes several times as long as to execute it.
    """
    await conn.fetchval("SELECT set_config('plan_cache_mode', 'auto', true)")
    yield
    # After an error the transaction, or the part of it, is rolled back with its settings.
    await plan_anew(conn)


@dataclass(frozen=True, slots=True)
class Work:
    """One attempt; `conn` is that of its transaction, if it has one from the start."""

    context: Context
    conn: Conn | None
    lock: bool

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Conn]:
        """A connection for statements that read."""
        if self.conn is not None:
            yield self.conn
            return
        async with transaction(self.context) as conn:
            yield conn

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Conn]:
        """A connection for statements that write records; afterwards the relay is woken.

        A taken id or unique value is `StaleRecord`: nobody held it when the rows were judged.
        """
        with mapping_constraints(
            {
                "record_goes_on_counting": StaleRecord,
                "records_id_taken": StaleRecord,
                "unique_value_taken": StaleRecord,
                "records_external_key_taken": StaleRecord,
                "variants_have_a_record": StaleRecord,
            }
        ):
            if self.conn is not None:
                yield self.conn
            else:
                async with (
                    self.context.app[WRITE_SLOTS].of(self.context.workspace_id),
                    transaction(self.context) as conn,
                ):
                    yield conn
        outbox.wake(self.context.app)

    async def blueprint(self) -> Blueprint:
        """The model of the workspace, at its version of now."""
        workspace_id = self.context.workspace_id
        async with self.reading() as conn:
            version = await store.model_version(conn, workspace_id, lock=self.lock)
        return await self.context.app[BLUEPRINTS].at(self.context.database, workspace_id, version)

    async def records(self, ids: Sequence[str], blueprint: Blueprint) -> dict[str, Stored]:
        """Those of these records that exist, in the states of their workflows."""
        workspace_id = self.context.workspace_id
        async with self.reading() as conn:
            found = await store.records_of(conn, workspace_id, ids, lock=self.lock)
        if blueprint.state_moves and await self._move_first(found, blueprint):
            async with self.reading() as conn:
                found = await store.records_of(conn, workspace_id, ids, lock=self.lock)
        if blueprint.settling and found:
            async with self.writing() as conn:
                settled = await settle_first(conn, workspace_id, sorted(found))
            if settled:
                async with self.reading() as conn:
                    found = await store.records_of(conn, workspace_id, ids, lock=self.lock)
        return found

    async def _move_first(self, found: Mapping[str, Stored], blueprint: Blueprint) -> bool:
        """Move those of the records that are not in the workflows of their schemas yet."""
        moved = False
        for schema_id, moves in sorted(blueprint.state_moves.items()):
            ids = [
                one.row["id"]
                for one in found.values()
                if one.row["schema_id"] == schema_id and (one.row["state_id"] or "") in moves
            ]
            if ids:
                async with self.writing() as conn:
                    moved |= await move_first(conn, self.context.workspace_id, schema_id, ids)
        return moved

    async def schemas(
        self, blueprint: Blueprint, names: Sequence[str]
    ) -> dict[str, CompiledSchema]:
        """Those of these schemas that exist, each under the id or alias that names it."""
        found: dict[str, CompiledSchema] = {}
        for name in names:
            try:
                found[name] = await compiled_schema(blueprint, blueprint.schema_id_of(name))
            except NotFound:
                continue
        return found

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function returns, called in a thread."""
        return await self.context.run(True, function, *args, **kwargs)


async def attempts(
    context: Context, conn: Conn | None, attempt: Callable[[Work], Awaitable[list[Result]]]
) -> list[Result]:
    """What the first attempt returns that nobody gets in between.

    With `conn` there is one attempt, and `STALE` is raised. Raises `ServiceUnavailable` when others
    get in between again and again.
    """
    if conn is not None:
        return await attempt(Work(context, conn, lock=True))
    for number in range(ATTEMPTS_MAX):
        try:
            if number < OPTIMISTIC_ATTEMPTS:
                return await attempt(Work(context, None, lock=False))
            async with (
                context.app[WRITE_SLOTS].of(context.workspace_id),
                transaction(context) as locking,
            ):
                return await attempt(Work(context, locking, lock=True))
        except STALE as stale:
            await make_current(context, stale)
            await asyncio.sleep(random.uniform(0, PAUSE_S * min(number, 8)))  # noqa: S311
    raise ServiceUnavailable("The records or the data model are being changed at the moment")


async def make_current(context: Context, stale: Exception) -> None:
    """Take over the definition of a workflow that was found to be newer than its copy."""
    if isinstance(stale, StaleDefinition):
        await adopt(context, stale.definition)

"""Walks over the records of an export within a share of the connections of the process.

An export takes as long as its reader takes. It holds a connection for one chunk at a time, waits
for its turn among other exports, and, once it has begun, also for a database that is away for a
while: an answer that has begun cannot be refused any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar

from aiohttp import web

from records_service.catalogs.assignments.sets_store import seen_of
from records_service.exports import store
from records_service.exports.store import FamilyPosition, Filter, Part
from records_service.permissions.rules import Role
from shared.database import Conn, Database
from shared.database.listing import BEGINNING, Position
from shared.errors import ServiceUnavailable, UpstreamTimeout
from shared.process.waiting import ASKING, KeyedSemaphore

T = TypeVar("T")

CONNECTIONS_SHARE: Final = 8
"""One in so many connections of a process is for exports."""
CHUNK_WAIT_S: Final = 20.0
PATIENCE: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 10.0)
"""Seconds between the attempts to read one chunk."""


@dataclass(slots=True)
class _Chunk:
    """Who waits: each chunk of an export has the whole waiting time for itself."""

    workspace_id: str
    waited_s: float = 0.0


class Exports:
    """Gives the exports of this process their turns: one chunk of a workspace at a time."""

    def __init__(self, connections_max: int) -> None:
        message = "Too many records are being exported at once"
        self._of_workspace = KeyedSemaphore(1, wait_s=CHUNK_WAIT_S, message=message)
        self._of_all = KeyedSemaphore(
            max(1, connections_max // CONNECTIONS_SHARE), wait_s=CHUNK_WAIT_S, message=message
        )

    async def read(
        self, db: Database, workspace_id: str, read: Callable[[Conn], Awaitable[T]]
    ) -> T:
        """What is read from one connection, or `ServiceUnavailable`."""
        ASKING.set(_Chunk(workspace_id))
        async with self._of_workspace.of(workspace_id), self._of_all.of(None), db.acquire() as conn:
            return await read(conn)

    async def read_patiently(
        self, db: Database, workspace_id: str, read: Callable[[Conn], Awaitable[T]]
    ) -> T:
        """As `read`, but tried again for half a minute."""
        for pause_s in PATIENCE:
            try:
                return await self.read(db, workspace_id, read)
            except (ServiceUnavailable, UpstreamTimeout):
                await asyncio.sleep(pause_s)
        return await self.read(db, workspace_id, read)


EXPORTS: Final = web.AppKey("exports", Exports)


class Walk:
    """The records of one workspace that some filters let through, each once."""

    def __init__(
        self,
        exports: Exports,
        db: Database,
        workspace_id: str,
        filters: list[Filter],
        catalog: tuple[str, Role | None] | None = None,
    ) -> None:
        """`catalog`, of which only assigned records are read, is its id and the caller's role."""
        self._exports = exports
        self._db = db
        self._workspace_id = workspace_id
        self._filters = filters
        self._catalog = catalog
        self._ends: list[Position | None] = []

    async def begin(self) -> None:
        """Fix the end of the walk; raises `ServiceUnavailable`.

        A walk over a catalog goes by what is assigned, which ends by itself.
        """
        if self._catalog is not None:
            self._ends = [store.THE_END] * len(self._filters)
            return

        async def read(conn: Conn) -> list[Position | None]:
            return [
                await store.last_of(conn, self._workspace_id, wanted) for wanted in self._filters
            ]

        self._ends = await self._exports.read(self._db, self._workspace_id, read)

    async def parts(self) -> AsyncIterator[Part]:
        """The records in order of creation, state by state where several are asked for."""
        workspace_id = self._workspace_id

        def part(wanted: Filter, after: Position | None, end: Position) -> _Read:
            return lambda conn: store.read_part(conn, workspace_id, wanted, after, end)

        async for each in self._parts(part):
            yield each

    async def categories(self, record_ids: Sequence[str], role: Role | None) -> Categories:
        """Record -> the categories that it is in, of catalogs that the role may view."""
        return await self._read(
            partial(seen_of, workspace_id=self._workspace_id, record_ids=record_ids, role=role)
        )

    async def variants(self, record_ids: Sequence[str]) -> AsyncIterator[Part]:
        """The variants of these records, record by record, parents first."""
        after: FamilyPosition | None = None
        while True:
            found = await self._read(
                partial(
                    store.read_variants,
                    workspace_id=self._workspace_id,
                    record_ids=record_ids,
                    after=after,
                )
            )
            if not found.rows:
                return
            yield found
            last = found.rows[-1]
            after = last["place"], [*last["path"], last["id"]]

    async def scopes(self, attribute_ids: list[str], *, variants: bool) -> AsyncIterator[Part]:
        """The scopes in which the records, or their variants too, have values of attributes."""
        workspace_id = self._workspace_id

        def part(wanted: Filter, after: Position | None, end: Position) -> _Read:
            return lambda conn: store.read_scopes(
                conn, workspace_id, wanted, after, end, attribute_ids, variants=variants
            )

        async for each in self._parts(part):
            yield each

    async def _parts(
        self, part: Callable[[Filter, Position | None, Position], _Read]
    ) -> AsyncIterator[Part]:
        async for ids in self._assigned():
            for wanted, end in zip(self._filters, self._ends, strict=True):
                after: Position | None = None
                while end is not None and after != end:
                    found = await self._read(part(replace(wanted, ids=ids), after, end))
                    if found.last is None:
                        break
                    after = found.last
                    yield found

    async def _assigned(self) -> AsyncIterator[Sequence[str] | None]:
        """The ids of the records of the catalog, some at a time; None once for no catalog."""
        if self._catalog is None:
            yield None
            return
        catalog_id, role = self._catalog
        after = BEGINNING
        while True:
            assigned = await self._read(
                partial(
                    store.assigned_after,
                    workspace_id=self._workspace_id,
                    catalog_id=catalog_id,
                    role=role,
                    after=after,
                )
            )
            if not assigned:
                return
            yield [record_id for _, record_id in assigned]
            after = assigned[-1]

    async def _read(self, read: Callable[[Conn], Awaitable[T]]) -> T:
        return await self._exports.read_patiently(self._db, self._workspace_id, read)


Categories = Mapping[str, Sequence[str]]
_Read = Callable[[Conn], Awaitable[Part]]

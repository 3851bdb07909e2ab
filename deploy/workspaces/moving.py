"""Moves a workspace from one installation to another while its clients write.

    begin     a fence around it in the source (`fence`), replication to the target (`streaming`)
    copy      until the target has it all and follows
    pause     no more events; those under way come to their end; nobody writes; the target applies
              the rest; both sides are compared; what makes workers act is copied (`arriving`)
    decide    the source is told that the workspace has moved: until here it is the truth, and an
              interrupted move can be taken back; from here on it can only be ended
    open      the target's databases commit, that of auth_service last: now clients are let in
    clear     subscription and slots are removed, and the source's work, so that none is done twice

Each step finds what an interrupted run has done, so the same command goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg

from deploy.workspaces import arriving, comparing, fence, streaming
from deploy.workspaces.databases import (
    Database,
    Databases,
    Failed,
    delete_rows,
    in_deletion_order,
    occupied,
    shown,
)
from deploy.workspaces.fence import CLOSED, DRAINING, MOVED, OPEN
from deploy.workspaces.tables import AUTH, OPENED_LAST, RECORDS, WORKFLOW

STREAMED: Final = (RECORDS, WORKFLOW)
SLOTS: Final = 6
"""For each of two subscriptions one, and two while tables are copied."""
PAUSE_S: Final = 30.0
ATTEMPTS: Final = 5
AGAIN_AFTER_S: Final = 5.0
LOOK_S: Final = 0.01
SAY_EVERY_S: Final = 10.0
REMEMBERED_S: Final = 95.0
"""For how long a gateway and a service may know a caller who is not there any more: 30 seconds in
its memory, and a signed identity of 60 seconds."""


class NotNow(Exception):
    """The pause is over before its end was reached: nothing was switched."""


@dataclass(frozen=True, slots=True)
class Pause:
    """For how many seconds nobody could write, and how many rows were compared."""

    seconds: float
    rows: int


class Move:
    """One workspace on its way."""

    def __init__(
        self,
        workspace_id: str,
        source: Databases,
        target: Databases,
        say: Callable[[str], None],
        *,
        pause_s: float = PAUSE_S,
        remembered_s: float = REMEMBERED_S,
    ) -> None:
        self._workspace_id = workspace_id
        self._source = source
        self._target = target
        self._say = say
        self._pause_s = pause_s
        self._remembered_s = remembered_s
        self._step = ""
        self._to_compare: dict[str, list[comparing.Range]] = {}

    async def run(self) -> Pause | None:
        """Move it, or go on where an earlier run was interrupted; None if that had decided.

        Raises `Failed`. Then the source is the truth and takes writes, unless it was decided.
        """
        pause = None
        if not await self.is_decided():
            await self.check()
            await self.begin()
            await self.wait_for_copies()
            pause = await self._switch_at_last()
        await self._open()
        await self._clear()
        return pause

    async def abort(self) -> None:
        """Take back what was begun. Raises `Failed` where nothing was, and once it is decided."""
        if not await self._has_begun():
            raise Failed(f"no move of '{self._workspace_id}' has begun")
        if await self.is_decided():
            raise Failed(
                f"'{self._workspace_id}' has moved: run the move again, without --abort, to end it"
            )
        await self._reopen()
        await self._end_streams()
        for service, database in self._target.items():
            if await arriving.state_of(database, self._workspace_id) == arriving.COMING:
                rows = await arriving.remove(database, self._workspace_id)
                self._say(f"target: {service}: {rows} rows removed")
        for database in self._source.values():
            await fence.take_down(database, self._workspace_id)

    async def _has_begun(self) -> bool:
        """Whether anything of a move is in one of the databases."""
        phases = [await fence.phase_of(one, self._workspace_id) for one in self._source.values()]
        states = [await arriving.state_of(one, self._workspace_id) for one in self._target.values()]
        return any(phases) or arriving.COMING in states

    async def finish(self) -> None:
        """Remove the source's rows of a workspace that has moved. Raises `Failed`.

        Callers first. The rest, and at last the fence, when no process remembers one: it would
        be told that there is nothing, and could write again.
        """
        if not await self.is_decided() or not await self._has_arrived():
            raise Failed(f"'{self._workspace_id}' has not moved to this target")
        await self._end_streams()
        for service in reversed(OPENED_LAST):
            database, rows = self._source[service], 0
            for table in in_deletion_order(database.tables):
                # Counted at the end of the transaction.
                async with self._passing(database):
                    rows += await delete_rows(database.conn, [table], self._workspace_id)
            self._say(f"source: {service}: {rows} rows removed")
            if service == AUTH and rows:
                self._say(f"waiting for {self._remembered_s:g} s, until no caller is remembered")
                await asyncio.sleep(self._remembered_s)
        for service in OPENED_LAST:
            # auth_service last: what it knows of the move says that it is decided.
            await fence.take_down(self._source[service], self._workspace_id)
        for database in self._target.values():
            await arriving.forget(database, self._workspace_id)

    async def is_decided(self) -> bool:
        """Whether the target is the truth, or about to be."""
        return await fence.phase_of(self._source[AUTH], self._workspace_id) == MOVED

    async def check(self) -> None:
        """Raises `Failed` with all that is in the way of a move."""
        if not await self._source[AUTH].conn.fetchval(
            "SELECT EXISTS (SELECT FROM workspaces WHERE workspace_id = $1)", self._workspace_id
        ):
            raise Failed(f"there is no workspace '{self._workspace_id}' at the source")
        faults = []
        for service, target in self._target.items():
            source = self._source[service]
            if source.revision != target.revision:
                faults.append(
                    f"{service}: the source is at revision {source.revision}, the target at"
                    f" {target.revision}"
                )
            lacks = await streaming.faults_of_target(target)
            faults += [f"target: {service}: {fault}" for fault in lacks]
            if service in STREAMED:
                lacks = await streaming.faults_of_source(source, self._workspace_id, SLOTS)
                faults += [f"source: {service}: {fault}" for fault in lacks]
        begun = [await arriving.state_of(one, self._workspace_id) for one in self._target.values()]
        if not any(begun):
            taken = await occupied(self._target, self._workspace_id)
            if taken:
                faults.append(f"the target has this workspace already: {shown(taken)}")
        faults += await self._addresses_taken()
        if faults:
            raise Failed("the workspace cannot be moved:\n  " + "\n  ".join(faults))

    async def _addresses_taken(self) -> list[str]:
        rows = await self._source[AUTH].conn.fetch(
            "SELECT address FROM addresses WHERE workspace_id = $1", self._workspace_id
        )
        taken = await self._target[AUTH].conn.fetchval(
            "SELECT count(*) FROM addresses WHERE address = ANY($1::text[]) AND workspace_id <> $2",
            [row["address"] for row in rows],
            self._workspace_id,
        )
        return [f"e-mail addresses of its users that the target has already: {taken}"] * bool(taken)

    async def begin(self) -> None:
        """Put up the fence, and let the target follow; repeatable."""
        for database in self._target.values():
            await arriving.expect(database, self._workspace_id)
        for database in self._source.values():
            await fence.raise_fence(database, self._workspace_id)
        await self._reopen()
        for service in STREAMED:
            await streaming.begin(self._source[service], self._target[service], self._workspace_id)

    async def wait_for_copies(self) -> None:
        """Return when the target has everything, and follows. Raises `Failed` if it cannot."""
        said = time.monotonic()
        while left := sum(
            [
                await streaming.tables_to_copy(self._target[service], self._workspace_id)
                for service in STREAMED
            ]
        ):
            if time.monotonic() - said > SAY_EVERY_S:
                self._say(f"{left} tables are still being copied")
                said = time.monotonic()
            await asyncio.sleep(streaming.LOOK_S)
        self._say("all tables are copied")
        for service in STREAMED:
            source, target = self._source[service], self._target[service]
            tables = streaming.streamed(source)
            await streaming.vacuum(target, tables)
            await self._wait_until_applied()
            self._to_compare[service] = await comparing.look_ahead(
                source.conn, target.conn, tables, self._workspace_id
            )
        self._say("all rows are compared, but for what has just changed")
        await self._wait_until_applied()

    async def _wait_until_applied(self) -> None:
        for service in STREAMED:
            source = self._source[service]
            lsn = await streaming.position(source)
            while not await streaming.has_applied(source, self._workspace_id, lsn):
                await streaming.tables_to_copy(self._target[service], self._workspace_id)
                await asyncio.sleep(LOOK_S)

    async def _switch_at_last(self) -> Pause:
        why = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(AGAIN_AFTER_S)
                await self._wait_until_applied()
            try:
                return await self._switch()
            except NotNow as error:
                why = str(error)
                self._say(f"not yet: {why}. The workspace takes writes again")
        raise Failed(
            f"no attempt of {ATTEMPTS} was short enough: {why}. The source is the truth, and the"
            " target follows it: run this again, or with --abort"
        )

    async def _switch(self) -> Pause:
        """Pause, and hand over. Raises `NotNow` or `Failed`; then the source takes writes."""
        began = time.monotonic()
        try:
            async with AsyncExitStack() as transactions:
                try:
                    async with asyncio.timeout(self._pause_s):
                        rows = await self._pause(transactions)
                        await self._decide()
                except TimeoutError:
                    raise NotNow(f"{self._pause_s:g} seconds went to {self._step}") from None
                except asyncpg.LockNotAvailableError:
                    raise NotNow("a write of the workspace did not end") from None
                for service in OPENED_LAST:
                    await self._target[service].conn.execute("COMMIT")
        except BaseException:
            if not await self.is_decided():
                await self._reopen()
            raise
        return Pause(time.monotonic() - began, rows)

    async def _pause(self, transactions: AsyncExitStack) -> int:
        """Bring the target to the state of the source, in transactions that are left open."""
        self._step = "writers that go on"
        await self._enter(DRAINING, OPEN)
        self._step = "events that are not published, or not handled (see the dead letters)"
        await self._until_nothing_is_under_way()
        await self._enter(CLOSED, DRAINING)
        await self._until_nothing_is_under_way()
        self._step = "the target, which has to apply the rest"
        await self._wait_until_applied()
        self._step = "the comparison of rows"
        compared = await asyncio.gather(*map(self._compare_streamed, STREAMED))
        rows = sum(compared)
        for service in OPENED_LAST:
            target = self._target[service]
            await transactions.enter_async_context(arriving.opening(target))
            rows += await arriving.bring(self._source[service], target, self._workspace_id)
        return rows

    async def _compare_streamed(self, service: str) -> int:
        source, target = self._source[service], self._target[service]
        tables = streaming.streamed(source)
        return await comparing.compare(
            service,
            source.conn,
            target.conn,
            tables,
            self._workspace_id,
            self._to_compare[service],
        )

    async def _enter(self, phase: str, before: str) -> None:
        for service, database in self._source.items():
            if not await fence.enter(
                database, self._workspace_id, phase, before=(before,), for_s=self._pause_s
            ):
                raise NotNow(f"the pause of {service} has ended")

    async def _decide(self) -> None:
        for service in OPENED_LAST:
            if not await fence.enter(
                self._source[service], self._workspace_id, MOVED, before=(CLOSED,), for_s=None
            ):
                raise NotNow(f"the pause of {service} has ended")

    async def _reopen(self) -> None:
        for database in self._source.values():
            if await fence.phase_of(database, self._workspace_id) is None:
                # Interrupted before there was a fence.
                continue
            await fence.enter(
                database,
                self._workspace_id,
                OPEN,
                before=(OPEN, DRAINING, CLOSED, MOVED),
                for_s=None,
            )

    async def _until_nothing_is_under_way(self) -> None:
        while True:
            if not await fence.events_on_their_way(self._source.values(), self._workspace_id):
                return
            await asyncio.sleep(LOOK_S)

    async def _open(self) -> None:
        """Bring and commit what an interrupted run has decided and not committed."""
        for service in OPENED_LAST:
            source, target = self._source[service], self._target[service]
            if await arriving.state_of(target, self._workspace_id) == arriving.COMING:
                async with arriving.opening(target):
                    await arriving.bring(source, target, self._workspace_id)
                    await target.conn.execute("COMMIT")
        if not await self._has_arrived():
            raise Failed(f"'{self._workspace_id}' has moved to another target than this")

    async def _has_arrived(self) -> bool:
        states = [await arriving.state_of(one, self._workspace_id) for one in self._target.values()]
        return all(state == arriving.THERE for state in states)

    async def _clear(self) -> None:
        await self._end_streams()
        for service in STREAMED:
            source = self._source[service]
            async with self._passing(source):
                if service == WORKFLOW:
                    await arriving.tell_of_webhooks(source, self._workspace_id)
                for table in in_deletion_order(source.tables):
                    if table.work_where is not None:
                        await delete_rows(
                            source.conn, [table], self._workspace_id, where=table.work_where
                        )

    async def _end_streams(self) -> None:
        for service in STREAMED:
            slots = await streaming.end(
                self._source[service], self._target[service], self._workspace_id
            )
            for slot in slots:
                self._say(f"source: {service}: replication slot {slot} removed")

    @asynccontextmanager
    async def _passing(self, source: Database) -> AsyncIterator[None]:
        """A transaction that may write a workspace which has moved."""
        async with source.conn.transaction():
            await source.conn.execute(f"SET LOCAL {fence.PASSES} = 'on'")
            yield

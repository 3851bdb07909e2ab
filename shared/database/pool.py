"""PostgreSQL connection pool, with a bounded number of connections and a bounded waiting time.

Why not asyncpg's own pool: its lease costs twice the CPU, because each one wraps the connection in
a new proxy object and shields its release in a new task. One row read by key, by 16 clients: 22 us
of CPU per lease here, 42 us there, 41 us without its reset statement, which saves the round trip
and not the CPU. That is about a sixth of what it costs a service to read one record.

This pool resets a connection only if it is not clean (a transaction still open, a statement
cancelled halfway), so a statement costs one round trip.

The price is a rule: session state (`SET`, `LISTEN`, session advisory locks, temporary tables) must
not outlive the transaction that needs it. Use `SET LOCAL`, or a connection of your own from
`connect`. A pooler in between must keep sessions (PgBouncer: `pool_mode = session`), because
statements are prepared once per connection and the outbox's relay holds a lock of its session.

    async with db.acquire() as conn:        several statements, each its own transaction
    async with db.transaction() as conn:    several statements, one transaction
    await db.fetchrow(sql, *arguments)      one statement

If PostgreSQL is unreachable, restarting or out of connections and nothing was written, the caller
gets `ServiceUnavailable`; the next request connects again. If the connection broke or fell silent
during a write (a single statement, or the COMMIT of a transaction), the outcome is unknown and the
caller gets `UpstreamTimeout`. So does a caller whose statement PostgreSQL cancelled because it took
too long: nothing was written, and a retry would fail again. Every other database error is raised
unchanged, and becomes an internal error unless `mapping_constraints` names its constraint.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Final, TypeVar
from weakref import WeakSet

import asyncpg
import structlog
from asyncpg.transaction import Transaction
from prometheus_client import Counter, Histogram

from shared.database.connection import Conn, PooledConnection, Record, connect, milliseconds
from shared.database.constraints import NOT_MIGRATED, failure_of
from shared.database.request_transactions import REQUEST_TRANSACTION
from shared.errors import ServiceUnavailable
from shared.process.waiting import WAIT_S, Line

log = structlog.get_logger(__name__)

T = TypeVar("T")

CONNECTIONS_MAX = 16
STATEMENT_TIMEOUT_S = 10.0
LOCK_TIMEOUT_S = 5.0
SILENCE_S = 2.0
CLIENT_TIMEOUT_S = STATEMENT_TIMEOUT_S + SILENCE_S
RESET_TIMEOUT_S = 2.0
CLOSE_WAIT_S = 2.0

POOL_WAIT = Histogram(
    "sigma_postgres_pool_wait_seconds",
    "Waiting time for a database connection, if none was free",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2),
)
POOL_REFUSED = Counter(
    "sigma_postgres_pool_refused_total", "Requests that got no database connection in time"
)


class Database:
    """A bounded pool of connections to one database, opened when they are first needed."""

    def __init__(
        self,
        url: str,
        *,
        connections_max: int = CONNECTIONS_MAX,
        acquire_wait_s: float = WAIT_S,
        statement_timeout_s: float = STATEMENT_TIMEOUT_S,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
        application_name: str = "sigma",
        migrated: asyncio.Event | None = None,
    ) -> None:
        self.url: Final = url
        self._connections_max = connections_max
        self._statement_timeout_s = statement_timeout_s
        self._lock_timeout_s = lock_timeout_s
        self._application_name = application_name
        self._idle: list[PooledConnection] = []
        self._lent: set[PooledConnection] = set()
        self._outdated: set[PooledConnection] = set()
        self._line: Line[PooledConnection | None] = Line(acquire_wait_s, self._abandon_wait)
        self._open = 0
        self._ahead: asyncio.Task[PooledConnection] | None = None
        self._closed = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._apart: WeakSet[Conn] = WeakSet()
        self.migrated: Final = migrated or asyncio.Event()
        """Whether it has the tables that this code needs; background work waits for it. A second
        pool to the same database is given that of the first."""
        if migrated is None:
            self.migrated.set()

    def acquire(self) -> AbstractAsyncContextManager[Conn]:
        """`async with db.acquire() as conn`: one connection for a few statements.

        In a request that is one transaction as a whole (`request_transactions`), it is that one's.
        """
        bound = REQUEST_TRANSACTION.get()
        return Lease(self) if bound is None else bound.lease(self) or Lease(self)

    def transaction(self) -> AbstractAsyncContextManager[Conn]:
        """`async with db.transaction() as conn`: committed at the end, rolled back on an error."""
        bound = REQUEST_TRANSACTION.get()
        return (
            TransactionLease(self) if bound is None else bound.lease(self) or TransactionLease(self)
        )

    @asynccontextmanager
    async def spare(self) -> AsyncIterator[Conn | None]:
        """One more connection for a request that has one, if most are free; never waited for.

        Where none is open, one is opened meanwhile, for the next request.
        """
        are_most_free = 2 * len(self._lent) + 2 <= self._connections_max
        if not are_most_free or REQUEST_TRANSACTION.get() is not None:
            yield None
        elif any(not conn.is_closed() for conn in self._idle):
            async with Lease(self) as conn:
                yield conn
        else:
            if self._ahead is None and not self._closed and self._open < self._connections_max:
                self._open += 1
                self._ahead = self._begin(self._opened())
                self._ahead.add_done_callback(self._opened_ahead)
            yield None

    def _opened_ahead(self, opening: asyncio.Task[PooledConnection]) -> None:
        self._ahead = None
        self._pass_on(opening)

    async def fetchrow(self, query: str, *arguments: Any) -> Record | None:
        """The first row, or None."""
        async with self.acquire() as conn:
            return await conn.fetchrow(query, *arguments)

    async def fetch(self, query: str, *arguments: Any) -> list[Record]:
        """All rows."""
        async with self.acquire() as conn:
            return await conn.fetch(query, *arguments)

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        """The first column of the first row, or None."""
        async with self.acquire() as conn:
            return await conn.fetchval(query, *arguments)

    async def execute(self, query: str, *arguments: Any) -> str:
        """The command tag, such as `UPDATE 1`."""
        async with self.acquire() as conn:
            return await conn.execute(query, *arguments)

    async def connect(self, **settings: str) -> Conn:
        """A connection outside the pool, the caller's to close; `settings` are the session's.

        For what belongs to a session: the relay's advisory lock, a listener.
        """
        conn = await connect(
            self.url,
            {
                "application_name": self._application_name,
                "statement_timeout": milliseconds(STATEMENT_TIMEOUT_S),
                **settings,
            },
            client_timeout_s=CLIENT_TIMEOUT_S,
        )
        self._apart.add(conn)
        return conn

    async def close(self) -> None:
        """Refuse new work, let what runs finish for a while, then end it."""
        self._closed = True
        self._line.refuse_all()
        deadline = time.monotonic() + CLOSE_WAIT_S
        # Polling is enough here; an event would cost every lease a check.
        while (self._lent or self._tasks) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        for conn in tuple(self._lent):
            conn.terminate()
        idle = tuple(self._idle)
        self._idle.clear()
        # At once: a server that hangs takes the whole second of each.
        await asyncio.gather(*(conn.end_in_order() for conn in idle))

    @property
    def connections(self) -> Mapping[str, int]:
        """The number of connections in use and idle, and of callers waiting for one."""
        return {"lent": len(self._lent), "idle": len(self._idle), "waiting": len(self._line)}

    async def take(self) -> PooledConnection:
        """A connection that must be returned with `give_back`; prefer `acquire`."""
        while self._idle:
            conn = self._idle.pop()
            if not conn.is_closed():
                self._lent.add(conn)
                return conn
            self._open -= 1
        if self._closed:
            raise ServiceUnavailable
        if self._open < self._connections_max:
            self._open += 1
            return await self._open_one()
        began = time.perf_counter()
        try:
            assigned = await self._line.wait()
        except ServiceUnavailable:
            POOL_REFUSED.inc()
            raise
        finally:
            POOL_WAIT.observe(time.perf_counter() - began)
        return await self._open_one() if assigned is None else assigned

    def give_back(self, conn: PooledConnection, error: BaseException | None = None) -> None:
        """Return a connection to the pool; reset it if it may not be clean."""
        if conn not in self._outdated and conn.was_demoted(error):
            self._leave_server()
        if conn.is_closed() or conn in self._outdated:
            self._end(conn)
        elif conn.is_unclear():
            self._begin(self._reset(conn))
        else:
            self._assign(conn)

    def _leave_server(self) -> None:
        """The server takes no more writes: end all connections to it, those in use at their end.

        Without this, each of them would refuse one more write, and one that only reads would read
        what is old for ever; so would the connections apart, which may hold the lock of a leader
        whom the new primary knows nothing of. New ones find the new primary.
        """
        log.warning("postgres_demoted", connections=self._open)
        self._outdated |= self._lent
        for apart in tuple(self._apart):
            apart.terminate()
        self._apart.clear()
        while self._idle:
            self._idle.pop().terminate()
            self._open -= 1

    def _assign(self, conn: PooledConnection | None) -> None:
        """Decide what becomes of a clean connection, or (None) of the place of a closed one.

        1. A caller waits: it gets the connection, or opens a new one in the place.
        2. Nobody waits: the connection is idle, or the place is free.
        """
        if self._line.call(conn):
            return
        if conn is None:
            self._open -= 1
        else:
            self._lent.discard(conn)
            self._idle.append(conn)

    def _abandon_wait(self, assigned: PooledConnection | None) -> None:
        """A waiter was cancelled after `_assign` had served it: take back what it got."""
        if assigned is None:
            self._assign(None)
        else:
            self.give_back(assigned)

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Work that goes on when the request that needed it is cut off."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _open_one(self) -> PooledConnection:
        """Open a connection that `_open` already counts.

        A caller that is cancelled meanwhile leaves it to the next one: requests that give up early
        must not keep a pool from ever getting a connection. (Cancelled, asyncpg would also report
        an error that nobody awaits.)
        """
        opening = self._begin(self._opened())
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(self._pass_on)
            raise

    def _pass_on(self, opening: asyncio.Task[PooledConnection]) -> None:
        if not opening.cancelled() and opening.exception() is None:
            self.give_back(opening.result())

    async def _opened(self) -> PooledConnection:
        try:
            conn = await connect(
                self.url,
                {
                    "application_name": self._application_name,
                    "statement_timeout": milliseconds(self._statement_timeout_s),
                    "lock_timeout": milliseconds(self._lock_timeout_s),
                },
                client_timeout_s=self._statement_timeout_s + SILENCE_S,
                kind=PooledConnection,
            )
        except BaseException:
            self._assign(None)
            raise
        self._lent.add(conn)
        if self._closed:
            self._end(conn)
            raise ServiceUnavailable
        return conn

    async def _reset(self, conn: PooledConnection) -> None:
        """Roll back and forget what the session remembers; end the connection if that fails."""
        try:
            await conn.roll_back(RESET_TIMEOUT_S)
            await conn.reset(timeout=RESET_TIMEOUT_S)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            conn.terminate()
        if conn.is_closed() or conn in self._outdated:
            self._end(conn)
        else:
            self._assign(conn)

    def _end(self, conn: PooledConnection) -> None:
        """End a connection; its place goes to the next caller."""
        conn.terminate()
        self._outdated.discard(conn)
        self._lent.discard(conn)
        self._assign(None)


class Lease:
    """One connection, from `async with` to its end."""

    __slots__ = ("_conn", "_database")

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __aenter__(self) -> Conn:
        self._conn = conn = await self._database.take()
        conn.sent.clear()
        return conn

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        conn = self._conn
        meant = None if error is None else failure_of(error, conn)
        self._database.give_back(conn, error)
        if isinstance(error, NOT_MIGRATED) and not self._database.migrated.is_set():
            # Not logged here: shared/database/schema_version.py logs it once for the process.
            raise ServiceUnavailable from error
        if meant is not None:
            log.warning("postgres_away", error=repr(error), answered=meant.code)
            raise meant from error


class TransactionLease:
    """One connection and one transaction on it, from `async with` to its end."""

    __slots__ = ("_lease", "_transaction")

    def __init__(self, database: Database) -> None:
        self._lease = Lease(database)

    async def __aenter__(self) -> Conn:
        conn = await self._lease.__aenter__()
        self._transaction: Transaction = conn.transaction()
        try:
            await self._transaction.start()
        except BaseException as error:
            await self._lease.__aexit__(type(error), error, error.__traceback__)
            raise
        return conn

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            # A failed COMMIT is an error of the block, reported like any other.
            await self._transaction.__aexit__(kind, error, trace)
        except BaseException as failed:
            failure = error if error is not None else failed
            await self._lease.__aexit__(type(failure), failure, failure.__traceback__)
            if error is None:
                raise
            return
        await self._lease.__aexit__(kind, error, trace)

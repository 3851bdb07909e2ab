"""One transaction for everything that a request does, without its handler knowing of it.

While it is bound, `Database.acquire()` and `Database.transaction()` of that request lend its one
connection, each time in a savepoint: an error inside is rolled back to there, so that whoever
catches it and tries again finds the transaction as it was before. Tasks of the request take turns.

What must hold for all requests together asks `REQUEST_TRANSACTION`:

- A cache keeps nothing that was read from changes that may yet be rolled back (`mark_changed`).
- Whoever is to hear of a commit hears of it afterwards (`after_commit`).
- Work for several requests together runs outside of it (`unbound`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Final

import asyncpg
import structlog

from shared.database.connection import Conn, PooledConnection
from shared.database.constraints import failure_of
from shared.errors import ServiceUnavailable

if TYPE_CHECKING:
    from shared.database.pool import Database

log = structlog.get_logger(__name__)

REQUEST_TRANSACTION: Final[ContextVar[RequestTransaction | None]] = ContextVar(
    "request_transaction", default=None
)
"""The transaction of the current request; None for nearly all requests. Set by `bind`."""
_LOST: Final = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)


@contextmanager
def unbound() -> Iterator[None]:
    """Outside of the request's transaction: for what serves other requests, too."""
    token = REQUEST_TRANSACTION.set(None)
    try:
        yield
    finally:
        REQUEST_TRANSACTION.reset(token)


class RequestTransaction:
    """An open transaction; `bind` begins and ends it."""

    def __init__(self, database: Database, conn: PooledConnection) -> None:
        self._database = database
        self._conn = conn
        self._turn = asyncio.Lock()
        self._holder: asyncio.Task[object] | None = None
        self._depth = 0
        self._is_open = True
        self._changed: set[str] = set()
        self._after_commit: list[Callable[[], None]] = []

    def lease(self, database: Database) -> SavepointLease | None:
        """A lease of its connection; None if that is a connection to another database.

        Raises `ServiceUnavailable` if the transaction has ended: nothing may be written on behalf
        of a request that is over.
        """
        if database is not self._database:
            return None
        if not self._is_open:
            raise ServiceUnavailable
        return SavepointLease(self)

    def mark_changed(self, what: str) -> None:
        """Remember that this has been changed, at least until a savepoint was rolled back."""
        self._changed.add(what)

    def has_changed(self, what: str) -> bool:
        """Whether others may not see yet what is read here."""
        return what in self._changed

    def after_commit(self, call: Callable[[], None]) -> None:
        """Call this when the transaction is committed, and not at all if it is rolled back."""
        self._after_commit.append(call)

    async def take(self) -> tuple[PooledConnection, str]:
        """The connection and the name of the next savepoint; a task may take it several times."""
        task = asyncio.current_task()
        if self._holder is not task:
            await self._turn.acquire()
            self._holder = task
        self._depth += 1
        return self._conn, f"request_{self._depth}"

    def give_back(self) -> None:
        """End what `take` began."""
        self._depth -= 1
        if not self._depth:
            self._holder = None
            self._turn.release()

    def end(self) -> None:
        """Lend it to nobody any more; a task that still holds it loses the connection."""
        self._is_open = False
        if self._depth:
            self._conn.terminate()

    def committed(self) -> None:
        """Tell those who wait for the commit."""
        for call in self._after_commit:
            call()


class SavepointLease:
    """The connection of a request's transaction, from `async with` to its end."""

    __slots__ = ("_conn", "_savepoint", "_transaction")

    def __init__(self, transaction: RequestTransaction) -> None:
        self._transaction = transaction

    async def __aenter__(self) -> Conn:
        self._conn, self._savepoint = await self._transaction.take()
        try:
            await self._conn.execute(f"SAVEPOINT {self._savepoint}")
        except BaseException as error:
            self._transaction.give_back()
            self._raise_meant(error)
            raise
        return self._conn

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                await self._release()
            else:
                await self._roll_back()
        except BaseException as failed:
            self._raise_meant(error or failed)
            raise
        finally:
            self._transaction.give_back()
        if error is not None:
            self._raise_meant(error)

    async def _release(self) -> None:
        try:
            await self._conn.execute(f"RELEASE {self._savepoint}")
        except asyncpg.InFailedSQLTransactionError:
            # A statement failed, and whoever sent it went on without its result.
            await self._roll_back()

    async def _roll_back(self) -> None:
        if not self._conn.is_closed():
            await self._conn.execute(f"ROLLBACK TO {self._savepoint}")
            await self._conn.execute(f"RELEASE {self._savepoint}")

    def _raise_meant(self, error: BaseException) -> None:
        """As a connection of the pool does."""
        meant = failure_of(error, self._conn)
        if meant is not None:
            log.warning("postgres_away", error=repr(error), answered=meant.code)
            raise meant from error


@contextmanager
def lent(database: Database, conn: Conn) -> Iterator[None]:
    """Let commands run within a transaction that is open already, as those of a request do.

    Nothing changes where it is that of the request anyway.
    """
    if REQUEST_TRANSACTION.get() is not None:
        yield
        return
    assert isinstance(conn, PooledConnection)
    bound = RequestTransaction(database, conn)
    token = REQUEST_TRANSACTION.set(bound)
    try:
        yield
    finally:
        REQUEST_TRANSACTION.reset(token)
        bound.end()
    # They may look too early, and look again.
    bound.committed()


@asynccontextmanager
async def bind(database: Database) -> AsyncIterator[tuple[Conn, RequestTransaction]]:
    """Bind a new transaction to the current request, until the block ends.

    Committed at its end, rolled back on an error, like `Database.transaction`.
    """
    with unbound():
        lease = database.transaction()
        conn = await lease.__aenter__()
    assert isinstance(conn, PooledConnection)
    bound = RequestTransaction(database, conn)
    token = REQUEST_TRANSACTION.set(bound)
    error: BaseException | None = None
    try:
        yield conn, bound
    except BaseException as raised:
        error = raised
        raise
    finally:
        REQUEST_TRANSACTION.reset(token)
        bound.end()
        await lease.__aexit__(None if error is None else type(error), error, None)
    bound.committed()

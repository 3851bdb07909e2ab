"""One PostgreSQL connection: its session settings, its time limits, and JSON as Python values."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import asyncpg
import orjson
import structlog

from shared.database.addresses import candidates, first_to_open
from shared.database.planned import PlannedStatements
from shared.errors import ServiceUnavailable
from shared.process.offload import LARGE_BYTES, Large
from shared.process.silence import end_when_silent

log = structlog.get_logger(__name__)

Conn: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Record: TypeAlias = asyncpg.Record

if TYPE_CHECKING:
    # Generic only for the type checker.
    _Connection = asyncpg.Connection[asyncpg.Record]
else:
    _Connection = asyncpg.Connection

CONNECT_TIMEOUT_S = 5.0
IDLE_IN_TRANSACTION_TIMEOUT_S = 15.0
STATEMENTS_CACHED = 512
CLOSE_IDLE_S = 1.0
CONNECT_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)

_JSONB_VERSION = b"\x01"


class PooledConnection(_Connection):
    """A connection that records the statements sent over it since it was acquired.

    If the connection breaks, they show whether anything may have been written.
    """

    __slots__ = ("_planned", "began_read_only", "sent")

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._planned = PlannedStatements()
        self.sent: list[str] = []
        self.began_read_only = is_read_only(self)

    def was_demoted(self, error: BaseException | None) -> bool:
        """Whether the server took writes when this was opened, and does so no more."""
        if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            return True
        return not (self.is_closed() or self.began_read_only) and is_read_only(self)

    def is_unclear(self) -> bool:
        """Whether a transaction is open, or a cancelled statement has not ended yet."""
        # asyncpg has no public API for the second; its own pool checks it in the same way.
        return self.is_in_transaction() or self._protocol._is_cancelling()  # type: ignore[attr-defined]  # noqa: SLF001

    async def roll_back(self, timeout_s: float) -> None:
        """End what is open, as that of a request that was cancelled while it began a transaction.

        asyncpg's own reset would do it, too, and report it as an error.
        """
        with suppress(asyncpg.InFailedSQLTransactionError):
            # Any statement waits for the end of one that is being cancelled.
            await self.execute("SELECT 1", timeout=timeout_s)
        if self.is_in_transaction():
            await self.execute("ROLLBACK", timeout=timeout_s)
        self._top_xact = None

    async def end_in_order(self) -> None:
        """Close it, within a second."""
        try:
            await self.close(timeout=CLOSE_IDLE_S)
        except CONNECT_ERRORS:
            self.terminate()

    def fetch_planned(self, query: str, *args: Any) -> Coroutine[Any, Any, list[Any]]:
        """The rows of a SELECT that is planned with its arguments.

        It only reads, so whoever asks what a broken connection has written need not know of it.
        """
        return self._planned.fetch(self, query, args)

    # Each method records the statement and delegates; a coroutine of its own would cost time.

    def execute(self, query: str, *args: Any, **more: Any) -> Coroutine[Any, Any, str]:
        """As asyncpg's."""
        self.sent.append(query)
        return super().execute(query, *args, **more)

    def executemany(self, command: str, args: Any, **more: Any) -> Coroutine[Any, Any, None]:
        """As asyncpg's."""
        self.sent.append(command)
        return super().executemany(command, args, **more)

    def fetch(self, query: str, *args: Any, **more: Any) -> Coroutine[Any, Any, list[Any]]:
        """As asyncpg's."""
        self.sent.append(query)
        return super().fetch(query, *args, **more)

    def fetchrow(self, query: str, *args: Any, **more: Any) -> Coroutine[Any, Any, Any]:
        """As asyncpg's."""
        self.sent.append(query)
        return super().fetchrow(query, *args, **more)

    def fetchval(self, query: str, *args: Any, **more: Any) -> Coroutine[Any, Any, Any]:
        """As asyncpg's."""
        self.sent.append(query)
        return super().fetchval(query, *args, **more)


@overload
async def connect(
    url: str, settings: Mapping[str, str], *, client_timeout_s: float | None = None
) -> Conn: ...
@overload
async def connect(
    url: str,
    settings: Mapping[str, str],
    *,
    client_timeout_s: float | None = None,
    kind: type[PooledConnection],
) -> PooledConnection: ...
async def connect(
    url: str,
    settings: Mapping[str, str],
    *,
    client_timeout_s: float | None = None,
    kind: type[Conn] = asyncpg.Connection,
) -> Conn:
    """One connection that speaks JSON; `ServiceUnavailable` when PostgreSQL cannot be reached.

    Of several servers in the address it is to the one that takes writes.
    """

    async def open_one(one_url: str) -> Conn:
        conn: Conn = await asyncpg.connect(
            one_url,
            connection_class=kind,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=client_timeout_s,
            statement_cache_size=STATEMENTS_CACHED,
            max_cached_statement_lifetime=0,
            server_settings={
                "idle_in_transaction_session_timeout": milliseconds(IDLE_IN_TRANSACTION_TIMEOUT_S),
                # JIT compilation takes longer than any statement here.
                "jit": "off",
                # A request has one core: workers take 6 ms to start, and are there for all tenants.
                "max_parallel_workers_per_gather": "0",
                # The server notices a lost client within half a minute and releases its locks.
                "tcp_keepalives_idle": "10",
                "tcp_keepalives_interval": "5",
                "tcp_keepalives_count": "3",
                **settings,
            },
        )
        # asyncpg has no public way to the socket.
        end_when_silent(conn._transport)  # type: ignore[attr-defined]  # noqa: SLF001
        await speak_json(conn)
        return conn

    try:
        return await first_to_open(candidates(url), open_one, kind.terminate)
    except (*CONNECT_ERRORS, asyncpg.TargetServerAttributeNotMatched) as error:
        log.warning("postgres_unreachable", error=repr(error))
        raise ServiceUnavailable from error


def is_read_only(conn: Conn) -> bool:
    """Whether the server has said that it takes no writes: a standby, or one made read-only.

    PostgreSQL tells a session of a change with the answer to its next statement.
    """
    settings = conn.get_settings()
    return "on" in (
        getattr(settings, "default_transaction_read_only", "off"),
        getattr(settings, "in_hot_standby", "off"),
    )


async def fetch_planned(conn: Conn, query: str, *arguments: Any) -> list[Record]:
    """The rows of a SELECT that is planned with its arguments each time (`planned`)."""
    if isinstance(conn, PooledConnection):
        return await conn.fetch_planned(query, *arguments)
    return await PlannedStatements().fetch(conn, query, arguments)


async def speak_json(conn: Conn) -> None:
    """Turn json and jsonb into Python values and back; `bytes` and `orjson.Fragment` are JSON.

    For `json[]` and `jsonb[]` pass `bytes`: asyncpg takes a list inside a list for a dimension.
    """
    await conn.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: _JSONB_VERSION + to_json(value),
        decoder=_from_jsonb,
    )
    await conn.set_type_codec(
        "json", schema="pg_catalog", format="binary", encoder=to_json, decoder=orjson.loads
    )


def _from_jsonb(data: bytes) -> Any:
    value = orjson.loads(memoryview(data)[1:])
    if len(data) > LARGE_BYTES and isinstance(value, dict):
        return Large(value)
    return value


def to_json(value: Any) -> bytes:
    """The JSON text of a value; `bytes` are taken to be JSON already."""
    return value if isinstance(value, bytes) else orjson.dumps(value)


def milliseconds(seconds: float) -> str:
    """A time limit as PostgreSQL's settings take it."""
    return str(int(seconds * 1000))

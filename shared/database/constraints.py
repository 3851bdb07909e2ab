"""What a failed statement means to the caller.

`violated` decides which constraint was violated, and `mapping_constraints` maps it to an error of a
feature. Failures of PostgreSQL or of the connection are mapped for every statement alike
(`failure_of`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import asyncpg

from shared.database.connection import Conn, PooledConnection
from shared.errors import ApiError, ServiceUnavailable, UpstreamTimeout

_AWAY: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    TimeoutError,
)
NOT_MIGRATED: Final = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)
_LOST: Final = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_NOT_SAID_OF_A_STATEMENT: Final = (
    # Raised by the client library: the connection is lost.
    asyncpg.PostgresConnectionError,
    # Sent by a crashing server to every session, at any moment.
    asyncpg.CrashShutdownError,
)
# Any other statement may write.
_BEGINS_AS_A_READ: Final = re.compile(r"\s*(?:SELECT|SHOW|WITH)\b", re.IGNORECASE)
_WRITES: Final = re.compile(r"\b(?:INSERT|DELETE|MERGE|(?<!FOR )(?<!KEY )UPDATE)\b", re.IGNORECASE)
_SAVEPOINTS: Final = ("SAVEPOINT ", "RELEASE ", "ROLLBACK TO ")

MOVING: Final = "sigma_workspace_moving"
MOVED: Final = "sigma_workspace_moved"
"""What the fence around a workspace names as the constraint of its refusals (ADR 97)."""
_OF_A_MOVE: Final[Mapping[str | None, str]] = {
    MOVING: "The workspace is being moved to other servers: it takes no changes for some seconds",
    MOVED: "The workspace has moved to other servers: it takes changes at its new address only",
}


def violated(error: asyncpg.IntegrityConstraintViolationError, names: Iterable[str]) -> str | None:
    """Which of these constraints was violated; None if it was another.

    Citus passes on the message of a worker, but not the field with the constraint. The message has
    the constraint of the shard, whose number is appended: `"records_id_taken_102052"`.
    """
    # In the message, a name may be another one with a number: the longest that fits is meant.
    for name in sorted(names, key=len, reverse=True):
        if error.constraint_name is None:
            if re.search(rf'"{re.escape(name)}(?:_\d+)?"', str(error.args[0])):
                return name
        elif error.constraint_name == name:
            return name
    return None


@contextmanager
def mapping_constraints(outcomes: Mapping[str, Callable[[], Exception]]) -> Iterator[None]:
    """Map violated constraints to errors: `{"records_sku_taken": lambda: Conflict(...)}`.

    A constraint that is not named stays an internal error.
    """
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        name = violated(error, outcomes)
        if name is None:
            raise
        meant = outcomes[name]()
        raise meant from error


def is_unavailable(error: BaseException, conn: Conn) -> bool:
    """Whether the error is a failure of PostgreSQL or the connection, not of the statement."""
    return isinstance(error, _AWAY) or (isinstance(error, _LOST) and conn.is_closed())


def may_have_written(sent: Sequence[str]) -> bool:
    """Whether these statements (the last may be incomplete) can have changed anything.

    In a transaction, nothing can have changed before COMMIT is sent.
    """
    in_transaction = wrote = False
    for statement in sent:
        if statement.startswith("BEGIN"):
            in_transaction, wrote = True, False
        elif statement.startswith("COMMIT"):
            if wrote:
                return True
            in_transaction = False
        elif statement == "ROLLBACK;":
            in_transaction = wrote = False
        elif not statement.startswith(_SAVEPOINTS) and _writes(statement):
            if not in_transaction:
                return True
            wrote = True
    return False


def _writes(statement: str) -> bool:
    return _BEGINS_AS_A_READ.match(statement) is None or _WRITES.search(statement) is not None


def failure_of(error: BaseException, conn: PooledConnection) -> ApiError | None:
    """The error for the caller if PostgreSQL failed; None for other errors."""
    if not is_unavailable(error, conn):
        return None
    sent: Sequence[str] = conn.sent
    was_reported = isinstance(error, asyncpg.PostgresError) and not isinstance(
        error, _NOT_SAID_OF_A_STATEMENT
    )
    if was_reported or isinstance(error, asyncpg.InterfaceError):
        # PostgreSQL itself reports that the last statement was rolled back, or it was never sent.
        sent = sent[:-1]
    if may_have_written(sent):
        return UpstreamTimeout.unknown()
    if isinstance(error, asyncpg.QueryCanceledError):
        return UpstreamTimeout.in_vain()
    if isinstance(error, asyncpg.OperatorInterventionError):
        # Only who writes rows of the workspace is refused, so nobody else learns of it.
        told = _OF_A_MOVE.get(error.constraint_name)
        if told is not None:
            return ServiceUnavailable(told)
    return ServiceUnavailable()

"""Limits of lists: a page has a size limit in bytes, and lists share part of the connections.

Five hundred records of ten megabytes are too many for one page.

The statement that reads a page adds up what it found and leaves out the documents beyond the bound,
so they never reach this process; the first is always sent. A client that named a `limit` is
refused, and told how many would fit; one that did not gets a shorter page, whose `limit` says so.

A list of a million records takes PostgreSQL a hundred times as long as one record does. Lists have
a pool of their own, three eighths of the connections, so that requests for single records find
theirs free however many lists are asked for; three quarters of that pool for one workspace.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from fractions import Fraction
from typing import Any, Final

from aiohttp import web

from records_service.config import Config
from shared.errors import ValidationError
from shared.postgres import DATABASE, Conn, Database
from shared.turns import Turns

PAGE_BYTES_MAX: Final = 16 << 20
LIST_SHARE: Final = Fraction(3, 8)
"""Of the connections of a process."""
WORKSPACE_SHARE: Final = Fraction(3, 4)
"""Of the connections for lists."""
STATEMENT_TIMEOUT_S: Final = 5.0

LISTS: Final = web.AppKey("lists", Database)
_TURNS: Final = web.AppKey("list_turns", Turns)


def list_connections(connections_max: int) -> int:
    """How many of a process's connections are for lists; one at least."""
    return max(1, int(connections_max * LIST_SHARE))


def lists(
    config: Config, *, application_name: str
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Lend connections for `list_connection` while the service runs."""

    async def opened(app: web.Application) -> AsyncIterator[None]:
        share = list_connections(config.database_connections_max)
        app[_TURNS] = Turns(
            max(1, int(share * WORKSPACE_SHARE)),
            wait_s=config.wait_seconds,
            message="Too many lists of this workspace are being read at once",
        )
        app[LISTS] = Database(
            config.database_url.get_secret_value(),
            connections_max=share,
            acquire_wait_s=config.wait_seconds,
            statement_timeout_s=STATEMENT_TIMEOUT_S,
            application_name=application_name,
            migrated=app[DATABASE].migrated,
        )
        yield
        await app[LISTS].close()

    return opened


@asynccontextmanager
async def list_connection(app: web.Application, workspace_id: str) -> AsyncIterator[Conn]:
    """A connection to read one page of a list, or `ServiceUnavailable` when none comes free."""
    async with app[_TURNS].of(workspace_id), app[LISTS].acquire() as conn:
        yield conn


def fitting(documents: Sequence[Any], *, limit_is_asked: bool) -> int:
    """How many documents of the page fit; those from the first that was left out (None) do not.

    One always fits, however large it is: nobody could get past it otherwise.

    Raises `ValidationError` where the client named the limit: a shorter page than the one asked for
    would be taken for the end of the list. Where it did not, the answer's `limit` says how long the
    page is, and the next one begins after that.
    """
    if None not in documents:
        return len(documents)
    fit = documents.index(None)
    if limit_is_asked:
        raise ValidationError.at(
            "/limit",
            f"Field 'limit' asks for more than {PAGE_BYTES_MAX} bytes at this offset: expected"
            f" at most {fit}, got {len(documents)}",
        )
    return fit

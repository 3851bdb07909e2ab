"""Publishes events of the change feed again: `python -m records_service.feed.telling_again`.

    python -m records_service.feed.telling_again --workspace ws-acme --since 2026-11-28T09:00:00Z
    python -m records_service.feed.telling_again --since 2026-11-28T09:00:00Z --queue auth_service

For consumers that have lost events: the queue was deleted, or their database was set back. An event
comes with the id and the content that it had, so a consumer that has handled it does nothing. Those
of one subject come in their order, each after the broker has confirmed the one before. They may
come after newer ones, so a consumer compares versions, as ever. The feed, its followers and
webhooks do not notice.

It publishes past the outbox, `--per-second` at most, so nothing new waits for it. After every page
it prints where it is: `--from` goes on there. What happens after its start is not told again.

Needs `SIGMA_DATABASE_URL` of records_service and `SIGMA_AMQP_URL`, or their files. Exit codes: 0
done; 1 not done, or interrupted; 2 usage or configuration error.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TextIO

import aio_pika
import asyncpg
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import PublishError
from aiormq.exceptions import AMQPError

from records_service.feed import positions, store
from records_service.feed.judging import document
from shared.database import Database, Record
from shared.database.schema_version import applied_in, complaint, known_revisions, unreachable
from shared.errors import ServiceUnavailable, truncated
from shared.ids import is_id
from shared.messaging import topology
from shared.messaging.batches import CONTENT_TYPE
from shared.messaging.dead_letters import connected, moment
from shared.process import config

SERVICE: Final = "records_service"
PAGE: Final = 200
PER_SECOND: Final = 200
PER_SECOND_MAX: Final = 5_000
ANSWER_TIMEOUT_S: Final = 10.0
HEARERS: Final = (topology.AUTH_QUEUE, topology.WORKFLOW_QUEUE)
"""The queues of services that hear events of the feed."""

Say = Callable[[str], None]


class NotTold(Exception):
    """Why nothing, or nothing more, was told."""


class Settings(config.Settings):
    """What the command reads from the environment."""

    database_url: config.DatabaseUrl
    amqp_url: config.AmqpUrl


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events; None stands for all."""

    workspace: str | None = None
    subject: str | None = None
    type: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def takes(self, row: Record) -> bool:
        """Whether this event is one of them, apart from its time."""
        return (self.subject is None or row["subject"] == self.subject) and (
            self.type is None or topology.matches(self.type, row["type"])
        )


@dataclass(slots=True)
class Told:
    """How far it is: a position in the feed of a workspace, and how many events were told."""

    workspace: str = ""
    position: int = 0
    events: int = 0
    without_values: int = 0

    def __str__(self) -> str:
        """As `--from` takes it."""
        return f"{self.workspace}@{self.position}"


class Teller:
    """Publishes, no more than so many in a second, to the exchange or to one queue."""

    def __init__(self, channel: AbstractChannel, queue: str | None, per_second: int) -> None:
        self._channel = channel
        self._queue = queue
        self._pause_s = 1 / per_second
        self._next_at_s = 0.0

    async def tell(self, row: Record, body: bytes) -> None:
        """Returns when the broker has the event. Raises `NotTold` where it does not take it."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._next_at_s - loop.time()))
        self._next_at_s = max(self._next_at_s, loop.time()) + self._pause_s
        message = aio_pika.Message(
            body,
            content_type=CONTENT_TYPE,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=row["event_id"],
            type=row["type"],
        )
        try:
            if self._queue is None:
                exchange = await self._channel.get_exchange(topology.EVENTS, ensure=False)
                await exchange.publish(
                    message, row["type"], mandatory=False, timeout=ANSWER_TIMEOUT_S
                )
            else:
                await self._channel.default_exchange.publish(
                    message, self._queue, timeout=ANSWER_TIMEOUT_S
                )
        except PublishError as error:
            raise NotTold(f"RabbitMQ has no queue '{truncated(str(self._queue))}'") from error


async def tell_again(
    database: Database, teller: Teller, wanted: Wanted, told: Told, say: Say
) -> None:
    """Tell what is wanted, from `told` on, and note there how far it is."""
    until = wanted.until or await database.fetchval("SELECT clock_timestamp()")
    goes_on = told.workspace
    async for workspace_id in _workspaces(database, wanted.workspace, goes_on):
        if await _has_moved(database, workspace_id):
            # Its consumers are elsewhere, and those here may not write anything of it.
            why = f"workspace '{truncated(workspace_id)}' has moved to another installation"
            if wanted.workspace is not None:
                raise NotTold(f"{why}: tell its events again there")
            say(f"{why}: left out")
            continue
        if workspace_id == goes_on:
            position = told.position
        else:
            position = await _beginning(database, workspace_id, wanted.since, say)
        told.workspace, told.position = workspace_id, position
        await _tell_workspace(database, teller, wanted, until, told, say)


async def _tell_workspace(
    database: Database, teller: Teller, wanted: Wanted, until: datetime, told: Told, say: Say
) -> None:
    more = True
    while more:
        async with database.acquire() as conn:
            page = await store.page(conn, told.workspace, told.position, PAGE)
        more = page.more
        for row in page.rows:
            if row["placed_at"] > until:
                return
            if wanted.takes(row):
                if row["document"] is None and row["user_id"] is None:
                    told.without_values += 1
                else:
                    await teller.tell(row, document(told.workspace, row))
                    told.events += 1
            told.position = row["position"]
        if page.rows:
            say(f"{told.events} told; go on with --from {told}")


async def _workspaces(database: Database, only: str | None, begin: str) -> AsyncIterator[str]:
    if only is not None:
        yield only
        return
    async with database.acquire() as conn:
        if begin:
            yield begin
        after = begin
        while ends := await positions.last_changes(conn, after, PAGE):
            for after, last_at in ends:
                if last_at is not None:
                    yield after


async def _has_moved(database: Database, workspace_id: str) -> bool:
    async with database.acquire() as conn:
        return await store.has_moved(conn, workspace_id)


async def _beginning(
    database: Database, workspace_id: str, since: datetime | None, say: Say
) -> int:
    async with database.acquire() as conn:
        if since is None:
            return (await positions.ends(conn, workspace_id))[0]
        position, is_whole = await positions.position_at(conn, workspace_id, since)
    if not is_whole:
        say(f"{workspace_id}: the feed does not go back to that time; begins with what it has")
    return position


@asynccontextmanager
async def _database(url: str) -> AsyncIterator[Database]:
    database = Database(url, connections_max=2, application_name="telling again")
    try:
        wrong = complaint(
            SERVICE, known_revisions(SERVICE), await applied_in(database.fetchval, SERVICE)
        )
        if wrong is not None:
            raise NotTold(wrong)
        yield database
    except ServiceUnavailable as error:
        raise NotTold(unreachable(error.__cause__ or error)) from error
    finally:
        await database.close()


async def _work(settings: Settings, asked: argparse.Namespace, told: Told, say: Say) -> None:
    wanted = Wanted(asked.workspace, asked.subject, asked.type, asked.since, asked.until)
    async with _database(settings.database_url.get_secret_value()) as database:
        if asked.workspace is not None:
            known = await database.fetchval(
                "SELECT true FROM models WHERE workspace_id = $1", asked.workspace
            )
            if not known:
                raise NotTold(f"workspace '{truncated(asked.workspace)}' has no events")
        connection = await connected(settings.amqp_url.get_secret_value())
        async with connection, connection.channel(on_return_raises=True) as channel:
            teller = Teller(channel, asked.queue, asked.per_second)
            await tell_again(database, teller, wanted, told, say)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    asked = _parser().parse_args(arguments)
    told = Told(*asked.place) if asked.place else Told()
    try:
        if asked.place and asked.workspace not in (None, told.workspace):
            raise NotTold(f"--from is of workspace '{truncated(told.workspace)}'")
        asyncio.run(_work(config.load(Settings), asked, told, _print))
    except config.ConfigError as error:
        _print(str(error), sys.stderr)
        return 2
    except (NotTold, AMQPError, OSError, TimeoutError, asyncpg.PostgresError) as error:
        why = str(error) if isinstance(error, NotTold) else f"RabbitMQ does not do it ({error})"
        _print(f"{why}{_rest(told)}", sys.stderr)
        return 1
    except KeyboardInterrupt:
        _print(f"interrupted{_rest(told)}", sys.stderr)
        return 1
    _print(f"{told.events} told")
    if told.without_values:
        _print(f"{told.without_values} left out: the history does not have their values any more")
    return 0


def _rest(told: Told) -> str:
    return f"; {told.events} told, go on with --from {told}" if told.workspace else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m records_service.feed.telling_again",
        description="Publish events of the change feed again, with the ids that they had. Reads"
        " SIGMA_DATABASE_URL (of records_service) and SIGMA_AMQP_URL, or their files.",
        epilog="Exit codes: 0 done, 1 not done or interrupted, 2 usage or configuration error.",
    )
    parser.add_argument("--workspace", type=_id, help="only of this workspace")
    parser.add_argument("--subject", help="only of this object: the id of a record, a schema, ...")
    parser.add_argument("--type", help="only of this type, or of those that it fits: 'entity.*'")
    parser.add_argument("--since", type=moment, help="placed in the feed after this time")
    parser.add_argument("--until", type=moment, help="placed in the feed up to this time")
    parser.add_argument(
        "--queue", type=_queue, help="only for this queue, instead of for all that are bound"
    )
    parser.add_argument("--from", dest="place", type=_place, help="where a run before has ended")
    parser.add_argument(
        "--per-second", type=_rate, default=PER_SECOND, help=f"events a second ({PER_SECOND})"
    )
    return parser


def _id(text: str) -> str:
    if not is_id(text):
        raise argparse.ArgumentTypeError(f"'{truncated(text)}' is not an id such as ws-demo")
    return text


def _place(text: str) -> tuple[str, int]:
    workspace, _, position = text.rpartition("@")
    if not is_id(workspace) or not position.isdecimal() or len(position) > 18:  # noqa: PLR2004
        raise argparse.ArgumentTypeError(
            f"expected what was printed, such as ws-demo@17, not '{truncated(text)}'"
        )
    return workspace, int(position)


def _queue(text: str) -> str:
    # Others of the services cannot handle such events: they would become dead letters.
    ours = {name for queue in topology.QUEUES for name in (queue.name, queue.dead)}
    if text in ours.difference(HEARERS):
        raise argparse.ArgumentTypeError(
            f"'{truncated(text)}' does not take events of the feed: expected {', '.join(HEARERS)}"
            " or a queue of your own"
        )
    return text


def _rate(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= PER_SECOND_MAX:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to {PER_SECOND_MAX}")
    return int(text)


def _print(line: str, file: TextIO | None = None) -> None:
    # This is a command line tool: whoever runs it reads along.
    print(line, file=file or sys.stdout, flush=True)


if __name__ == "__main__":
    sys.exit(main())

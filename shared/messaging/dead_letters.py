"""Lists, replays and drops dead letters.

    python -m shared.messaging.dead_letters list records_service
    python -m shared.messaging.dead_letters replay records_service --type 'auth.*'

A message that its consumer has given up on is in the queue `<queue>.dead`. Each command takes the
messages that are there when it starts, one after the other, and acknowledges a message only after
the broker has confirmed where it went: an interruption can repeat one and loses none. What is
listed, or is not what was asked for, is put back at the end, as to hand a message back unread
counts as a delivery, of which RabbitMQ 4 allows 20.

Needs `SIGMA_AMQP_URL` or `SIGMA_AMQP_URL_FILE`. Exit codes: 0 done, 1 failed, 2 usage or
configuration error.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from aiormq.exceptions import AMQPError

from shared.errors import truncated
from shared.events import Event
from shared.messaging.topology import QUEUES, Queue, matches
from shared.process import config
from shared.process.hosts import each_host

ANSWER_TIMEOUT_S: Final = 10.0
DONE: Final = {"list": "found", "replay": "replayed", "drop": "dropped"}
REASONS: Final = {
    "delivery_limit": "failed every time",
    "rejected": "cannot be read",
    "expired": "was too old",
}
"""What the broker says of why a message is there."""

Say = Callable[[str], None]


class _Settings(config.Settings):
    amqp_url: config.AmqpUrl


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters; None stands for all. What is no event meets no other condition."""

    workspace: str | None = None
    subject: str | None = None
    type: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    most: int = sys.maxsize

    def takes(self, message: AbstractIncomingMessage) -> bool:
        """Whether this is one of them, apart from how many there are."""
        if (self.workspace, self.subject, self.type, self.since, self.until) == (None,) * 5:
            return True
        try:
            event = Event.from_json(message.body)
        except ValueError:
            return False
        return (
            self.workspace in (None, event.workspace_id)
            and self.subject in (None, event.subject)
            and (self.type is None or matches(self.type, event.type))
            and (self.since is None or event.time >= self.since)
            and (self.until is None or event.time <= self.until)
        )


async def work(
    amqp_url: str, command: str, queue: Queue, say: Say, wanted: Wanted = Wanted()
) -> tuple[int, int]:
    """Do it with those that are wanted, oldest first; how many they were, and how many are left."""
    connection = await connected(amqp_url)
    async with connection, connection.channel() as channel:
        dead = await channel.get_queue(queue.dead)
        found = await channel.declare_queue(queue.dead, passive=True, timeout=ANSWER_TIMEOUT_S)
        there = found.declaration_result.message_count or 0
        done = 0
        for _ in range(there):
            if done == wanted.most:
                break
            message = await dead.get(fail=False, timeout=ANSWER_TIMEOUT_S)
            if message is None:
                break
            is_wanted = wanted.takes(message)
            if is_wanted:
                say(_described(message))
                done += 1
            stays = command == "list" or not is_wanted
            if stays or command == "replay":
                to = queue.dead if stays else queue.name
                await channel.default_exchange.publish(
                    _copy(message, keep_headers=stays),
                    routing_key=to,
                    timeout=ANSWER_TIMEOUT_S,
                )
            await message.ack()
    return done, there - done


async def connected(amqp_url: str) -> AbstractConnection:
    """A connection to the first node that can be reached."""
    *others, last = each_host(amqp_url)
    for url in others:
        with suppress(AMQPError, OSError, TimeoutError):
            return await aio_pika.connect(url, timeout=ANSWER_TIMEOUT_S)
    return await aio_pika.connect(last, timeout=ANSWER_TIMEOUT_S)


def moment(text: str) -> datetime:
    """An argument that is a time in ISO 8601; without an offset, in UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a time such as 2026-11-28T09:00:00Z, not '{truncated(text)}'"
        ) from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def _copy(message: AbstractIncomingMessage, *, keep_headers: bool) -> aio_pika.Message:
    return aio_pika.Message(
        message.body,
        headers=message.headers if keep_headers else None,
        content_type=message.content_type,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=message.message_id,
        type=message.type,
    )


def _described(message: AbstractIncomingMessage) -> str:
    reason = _reason(message.headers.get("x-death"))
    try:
        event = Event.from_json(message.body)
    except ValueError:
        return f"{message.message_id or '-'} not an event, {len(message.body)} bytes{reason}"
    when = f"{event.time:%Y-%m-%dT%H:%M:%SZ}"
    return f"{event.id} {when} {event.type} {event.subject} in {event.workspace_id}{reason}"


def _reason(deaths: Any) -> str:
    """Why and since when it is here, as the broker has noted it: the last time it died first."""
    if not isinstance(deaths, list) or not deaths or not isinstance(deaths[0], dict):
        return ""
    reason = str(deaths[0].get("reason"))
    since = deaths[0].get("time")
    at = f" at {since:%Y-%m-%dT%H:%M:%SZ}" if isinstance(since, datetime) else ""
    return f": {REASONS.get(reason, reason)}{at}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    by_name = {queue.name: queue for queue in QUEUES}
    parser = _parser(sorted(by_name))
    asked = parser.parse_args(arguments)
    wanted = Wanted(
        asked.workspace, asked.subject, asked.type, asked.since, asked.until, asked.most
    )
    try:
        url = config.load(_Settings).amqp_url.get_secret_value()
        done, left = asyncio.run(work(url, asked.command, by_name[asked.queue], _print, wanted))
    except config.ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (AMQPError, OSError, TimeoutError) as error:
        sys.stderr.write(f"RabbitMQ does not do it; is SIGMA_AMQP_URL right? ({error})\n")
        return 1
    _print(f"{done} {DONE[asked.command]}" + (f", {left} others left" if left else ""))
    return 0


def _parser(queues: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m shared.messaging.dead_letters",
        description="Handle messages that a consumer gave up on. Reads SIGMA_AMQP_URL,"
        " or the file that SIGMA_AMQP_URL_FILE names.",
        epilog="Exit codes: 0 done, 1 failed, 2 usage or configuration error.",
    )
    parser.add_argument(
        "command",
        choices=tuple(DONE),
        help="list: print them; replay: hand them to their consumer again; drop: delete them",
    )
    parser.add_argument("queue", choices=queues, help="the consumer: %(choices)s")
    parser.add_argument("--workspace", help="only of this workspace")
    parser.add_argument("--subject", help="only of this object: the id of a role, a schema, ...")
    parser.add_argument("--type", help="only of this type, or of those that it fits: 'auth.#'")
    parser.add_argument("--since", type=moment, help="only events of this time or later")
    parser.add_argument("--until", type=moment, help="only events of this time or earlier")
    parser.add_argument("--most", type=_count, default=sys.maxsize, help="only the oldest so many")
    return parser


def _count(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError("expected a whole number of at least 1")
    return int(text)


def _print(line: str) -> None:
    # This is a command line tool: whoever runs it reads along.
    print("".join(char if char.isprintable() else "?" for char in line), flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())

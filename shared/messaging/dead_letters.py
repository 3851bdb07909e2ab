"""Lists, replays and drops dead letters.

    python -m shared.messaging.dead_letters list records_service

A message that its consumer has given up on is in the queue `<queue>.dead`. Each command takes the
messages that are there when it starts, one after the other, and acknowledges a message only after
the broker has confirmed where it went: an interruption can repeat one and loses none. `list` puts
each one back at the end, as to hand a message back unread counts as a delivery, of which RabbitMQ 4
allows 20.

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
from typing import Final

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from aiormq.exceptions import AMQPError

from shared.events import Event
from shared.messaging.topology import QUEUES, Queue
from shared.process import config
from shared.process.hosts import each_host

ANSWER_TIMEOUT_S: Final = 10.0
COMMANDS: Final = ("list", "replay", "drop")

Say = Callable[[str], None]


class _Settings(config.Settings):
    amqp_url: config.AmqpUrl


async def work(amqp_url: str, command: str, queue: Queue, say: Say, most: int = sys.maxsize) -> int:
    """Do it with the oldest messages, `most` at most; how many there were."""
    connection = await _connected(amqp_url)
    async with connection, connection.channel() as channel:
        dead = await channel.get_queue(queue.dead)
        found = await channel.declare_queue(queue.dead, passive=True, timeout=ANSWER_TIMEOUT_S)
        count = min(most, found.declaration_result.message_count or 0)
        done = 0
        for _ in range(count):
            message = await dead.get(fail=False, timeout=ANSWER_TIMEOUT_S)
            if message is None:
                break
            say(_described(message))
            if command != "drop":
                to = queue.dead if command == "list" else queue.name
                await channel.default_exchange.publish(
                    _copy(message, keep_headers=command == "list"),
                    routing_key=to,
                    timeout=ANSWER_TIMEOUT_S,
                )
            await message.ack()
            done += 1
    return done


async def _connected(amqp_url: str) -> AbstractConnection:
    """To the first node that can be reached."""
    *others, last = each_host(amqp_url)
    for url in others:
        with suppress(AMQPError, OSError, TimeoutError):
            return await aio_pika.connect(url, timeout=ANSWER_TIMEOUT_S)
    return await aio_pika.connect(last, timeout=ANSWER_TIMEOUT_S)


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
    try:
        event = Event.from_json(message.body)
    except ValueError:
        return f"{message.message_id or '-'} not an event, {len(message.body)} bytes"
    when = f"{event.time:%Y-%m-%dT%H:%M:%SZ}"
    return f"{event.id} {when} {event.type} {event.subject} in {event.workspace_id}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    by_name = {queue.name: queue for queue in QUEUES}
    parser = argparse.ArgumentParser(
        prog="python -m shared.messaging.dead_letters",
        description="Handle messages that a consumer gave up on. Reads SIGMA_AMQP_URL,"
        " or the file that SIGMA_AMQP_URL_FILE names.",
        epilog="Exit codes: 0 done, 1 failed, 2 usage or configuration error.",
    )
    parser.add_argument(
        "command",
        choices=COMMANDS,
        help="list: print them; replay: hand them to their consumer again; drop: delete them",
    )
    parser.add_argument("queue", choices=sorted(by_name), help="the consumer: %(choices)s")
    parser.add_argument("--most", type=_count, default=sys.maxsize, help="only the oldest so many")
    asked = parser.parse_args(arguments)
    try:
        url = config.load(_Settings).amqp_url.get_secret_value()
        count = asyncio.run(work(url, asked.command, by_name[asked.queue], _print, asked.most))
    except config.ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (AMQPError, OSError, TimeoutError) as error:
        sys.stderr.write(f"RabbitMQ does not do it; is SIGMA_AMQP_URL right? ({error})\n")
        return 1
    done = {"list": "found", "replay": "replayed", "drop": "dropped"}[asked.command]
    _print(f"{count} {done}")
    return 0


def _count(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError("expected a whole number of at least 1")
    return int(text)


def _print(line: str) -> None:
    # This is a command line tool: whoever runs it reads along.
    print("".join(char if char.isprintable() else "?" for char in line), flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())

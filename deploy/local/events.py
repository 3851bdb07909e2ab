"""Prints the events of a running `make run`, one line each: `make events`."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress

import aio_pika

from deploy.local.folder import BROKER, FOLDER
from shared.events import EventType
from shared.messaging import topology


async def _follow(url: str) -> None:
    async with await aio_pika.connect(url, heartbeat=5) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True, auto_delete=True)
        await queue.bind(topology.EVENTS, "#")
        print("Waiting for events; stop with Ctrl-C", flush=True)
        async with queue.iterator(no_ack=True) as messages:
            async for message in messages:
                event = json.loads(message.body)
                if is_news(event["type"]):
                    data = json.dumps(event["data"], ensure_ascii=False)
                    print(f"{event['type']} {event['subject']} {data}", flush=True)


def is_news(event_type: str) -> bool:
    """Whether it tells of a change: heartbeats, and turns of background jobs, tell of none."""
    return event_type != EventType.AUTH_WATERMARK and not event_type.endswith(".job")


def main() -> int:
    """1 when nothing runs."""
    try:
        url = (FOLDER / BROKER).read_text().strip()
    except FileNotFoundError:
        print("make run is not running: start it in another terminal.", file=sys.stderr)
        return 1
    with suppress(KeyboardInterrupt):
        asyncio.run(_follow(url))
    return 0


if __name__ == "__main__":
    sys.exit(main())

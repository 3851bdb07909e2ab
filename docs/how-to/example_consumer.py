"""Example consumer: processes every record event exactly once.

    SIGMA_AMQP_URL=amqp://...  FOLLOWER_DATABASE_URL=postgresql://...  python example_consumer.py

Once, a minute after it has begun to follow, for each workspace, it reads the existing records:

    SIGMA_URL=https://pim.example  SIGMA_API_KEY=...  FOLLOWER_DATABASE_URL=postgresql://...
    python example_consumer.py existing ws-demo

It needs aio-pika, asyncpg and the broker's address, and no code of Sigma PIM. It stores the current
state of each record (the newest version wins) and the number of changes per workspace (an event
that is processed twice would be visible there). follow-record-events.md explains every step.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any

import aio_pika
import aiormq
import asyncpg

QUEUE = "example_follower"
BINDING = "entity.*"
PREFETCH = 16
PAGE = 500
PAUSE_S = 1.0
CONNECT_S = 5.0
# A broker whose machine is gone does not close the connection; it is noticed by its silence. With
# these four seconds, it says something every two. aiormq would wait for three times as long: now
# it leaves a broker that has said nothing for five seconds, the four and one more.
HEARTBEAT_S = 4
aiormq.Connection.HEARTBEAT_GRACE_MULTIPLIER = 1
TOO_LARGE = 400
LATER = (429, 503, 504)
AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InterfaceError,
    OSError,
)
# Some errors of a lost connection are no AMQPError: that of a closed channel is a RuntimeError.
LOST = aio_pika.exceptions.CONNECTION_EXCEPTIONS

TABLES = """
CREATE TABLE IF NOT EXISTS inbox (
    event_id    text PRIMARY KEY,
    received_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS followed_records (
    workspace_id text NOT NULL,
    record_id    text NOT NULL,
    version      bigint NOT NULL,
    state_id     text,
    deleted      boolean NOT NULL,
    PRIMARY KEY (workspace_id, record_id)
);
CREATE TABLE IF NOT EXISTS activity (
    workspace_id text PRIMARY KEY,
    changes      bigint NOT NULL
);
"""


async def main() -> None:
    """Consume forever; reconnect when the broker is unreachable or the connection is lost."""
    pool = await asyncpg.create_pool(os.environ["FOLLOWER_DATABASE_URL"], min_size=1, max_size=2)
    await pool.execute(TABLES)
    # One address, or with spaces between them that of each node of a cluster.
    for url in itertools.cycle(os.environ["SIGMA_AMQP_URL"].split()):
        try:
            await read(pool, url)
        except LOST as error:
            print(f"broker: {error!r}", flush=True)
        await asyncio.sleep(PAUSE_S)


async def read(pool: Any, url: str) -> None:
    """Process one message after the other until the connection is lost."""
    async with await aio_pika.connect(url, heartbeat=HEARTBEAT_S, timeout=CONNECT_S) as connection:
        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=PREFETCH)
        queue = await declare(channel)
        async with queue.iterator() as messages:
            print("following", flush=True)
            async for message in messages:
                await take(pool, message)


async def declare(channel: aio_pika.abc.AbstractChannel) -> aio_pika.abc.AbstractQueue:
    """Declare a durable queue, which keeps events while this process is down."""
    events = await channel.declare_exchange("sigma.events", "topic", durable=True)
    aside = await channel.declare_exchange("sigma.dead", "direct", durable=True)
    dead = await channel.declare_queue(
        f"{QUEUE}.dead", durable=True, arguments={"x-queue-type": "quorum"}
    )
    await dead.bind(aside, QUEUE)
    queue = await channel.declare_queue(
        QUEUE,
        durable=True,
        arguments={
            "x-queue-type": "quorum",
            "x-delivery-limit": 5,
            "x-dead-letter-exchange": "sigma.dead",
            "x-dead-letter-routing-key": QUEUE,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        },
    )
    await queue.bind(events, BINDING)
    return queue


async def take(pool: Any, message: aio_pika.abc.AbstractIncomingMessage) -> None:
    """Process one message and acknowledge it afterwards."""
    # If the acknowledgement does not reach the broker, nothing is lost: it delivers again.
    with contextlib.suppress(*LOST):
        try:
            event = json.loads(message.body)
            while not await handled(pool, event):  # noqa: ASYNC110  there is nothing to wait for
                await asyncio.sleep(PAUSE_S)
        except (ValueError, KeyError, TypeError):
            # The message can never be read: move it to the dead letters at once.
            await message.reject(requeue=False)
        except Exception as error:  # noqa: BLE001  one bad message must not stop the service
            print(f"{message.message_id}: {error!r}", flush=True)
            await asyncio.sleep(PAUSE_S)
            # The broker counts deliveries: after five retries it goes to the dead letters.
            await message.reject(requeue=True)
        else:
            await message.ack()


async def handled(pool: Any, event: dict[str, Any]) -> bool:
    """Store the event's id and its effect in one transaction; False if the database is away."""
    try:
        async with pool.acquire() as conn, conn.transaction():
            first_time = await conn.fetchval(
                "INSERT INTO inbox (event_id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING true",
                event["id"],
            )
            if first_time:
                await follow(conn, event)
    except AWAY:
        return False
    return True


async def follow(conn: Any, event: dict[str, Any]) -> None:
    """The purpose of this service. Runs once per event, in the transaction that stores its id."""
    await conn.execute(
        """INSERT INTO activity AS a (workspace_id, changes)
           VALUES ($1, 1)
               ON CONFLICT (workspace_id)
               DO UPDATE SET changes = a.changes + 1""",
        event["workspaceid"],
    )
    # After a failure, an older event can arrive after a newer one, so the version decides. The row
    # of a deleted record is kept for the same reason.
    await conn.execute(
        """INSERT INTO followed_records AS f (workspace_id, record_id, version, state_id, deleted)
           VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (workspace_id, record_id)
               DO UPDATE SET version = excluded.version,
                             state_id = excluded.state_id,
                             deleted = excluded.deleted
                       WHERE f.version < excluded.version""",
        event["workspaceid"],
        event["data"]["entityId"],
        event["data"]["version"],
        event["data"]["lifecycleStateId"],
        event["type"] == "entity.deleted",
    )


async def existing(workspace_id: str) -> None:
    """Read the existing records of the workspace of the API key, once."""
    async with asyncpg.create_pool(
        os.environ["FOLLOWER_DATABASE_URL"], min_size=1, max_size=1
    ) as pool:
        await pool.execute(TABLES)
        await read_existing(pool, workspace_id, listed)
    print("read", flush=True)


async def read_existing(
    pool: Any,
    workspace_id: str,
    page_of: Callable[[str | None, int], Awaitable[dict[str, Any] | None]],
    size: int = PAGE,
) -> None:
    """Read the list from its beginning to its end.

    Each page begins where the one before it ended: records that come or go meanwhile move none.
    """
    cursor: str | None = None
    while True:
        page = await page_of(cursor, size)
        if page is None:
            size = max(1, size // 2)
            continue
        # As version 0, and not as that of the item, it never replaces what an event has stored, not
        # even the row of a deleted record, and every event replaces it.
        await pool.executemany(
            """INSERT INTO followed_records (workspace_id, record_id, version, state_id, deleted)
               VALUES ($1, $2, 0, $3, false)
                   ON CONFLICT DO NOTHING""",
            [(workspace_id, item["id"], item["lifecycleStateId"]) for item in page["items"]],
        )
        cursor = page["nextCursor"]
        if cursor is None:
            return


async def listed(cursor: str | None, limit: int) -> dict[str, Any] | None:
    """The page that begins here; None if it would be too large for one answer."""
    query = {"limit": limit, "total": "none"} | ({} if cursor is None else {"cursor": cursor})
    address = f"{os.environ['SIGMA_URL']}/api/v1/records?{urllib.parse.urlencode(query)}"
    # The address is the operator's own.
    request = urllib.request.Request(
        address, headers={"X-Sigma-ApiKey": os.environ["SIGMA_API_KEY"]}
    )
    while True:
        try:
            with await asyncio.to_thread(urllib.request.urlopen, request, timeout=60) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            if error.code == TOO_LARGE and limit > 1:
                return None
            if error.code not in LATER:
                raise
            await asyncio.sleep(float(error.headers.get("Retry-After", PAUSE_S)))


if __name__ == "__main__":
    asyncio.run(existing(sys.argv[2]) if sys.argv[1:2] == ["existing"] else main())

"""A connection whose other side is gone without a word ends by itself, whoever made it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys

import aio_pika
import pytest

from shared.database import Database
from shared.messaging import connection as messaging
from shared.messaging.connection import Bus, WatchedConnection
from shared.messaging.topology import Queue
from shared.process.silence import SILENT_S
from tests.faults.isolation import why_not
from tests.kit.servers import ROOT

WATCHED = """
import asyncio, subprocess
from shared.process import silence

silence.SILENT_S, silence.ASKED_AFTER_S = 1.0, 1

async def main():
    await asyncio.start_server(lambda reader, writer: None, "127.0.3.1", 4000)
    made = [await asyncio.open_connection("127.0.3.1", 4000) for _ in range(2)]
    for _, writer in made:
        silence.end_when_silent(writer.transport)
    for direction in ("-s", "-d"):
        rule = ["iptables", "-I", "INPUT", direction, "127.0.3.1", "-j", "DROP"]
        subprocess.run(rule, check=True)
    made[0][1].write(b"said, and never acknowledged")
    for reader, _ in made:
        try:
            print(await reader.read())
        except TimeoutError:
            print("silent")

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
asyncio.run(asyncio.wait_for(main(), 30))
"""


@pytest.mark.skipif(why_not() != "", reason=why_not())
def test_whoever_speaks_to_nobody_or_waits_for_nobody_is_told():
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", WATCHED],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("silent\nsilent\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="the system cannot do it")
async def test_every_connection_to_the_database_is_watched(database_url: str):
    db = Database(database_url)
    apart = await db.connect()
    async with db.acquire() as pooled:
        for conn in (apart, pooled):
            sock = conn._transport.get_extra_info("socket")
            limit_ms = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert limit_ms == SILENT_S * 1000
    await apart.close()
    await db.close()


async def test_every_connection_to_the_broker_is_watched(
    amqp_url: str, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    watched: list[asyncio.BaseTransport] = []
    monkeypatch.setattr(messaging, "end_when_silent", watched.append)
    bus = Bus(amqp_url, "test", [queue])
    bus.start()
    await bus.connection()
    (transport,) = watched
    assert f":{transport.get_extra_info('peername')[1]}/" in amqp_url
    await bus.stop()


async def test_a_broker_that_accepts_nobody_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(messaging, "REACHED_WITHIN_S", 0.1)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as accepted:
        await asyncio.to_thread(accepted.connect, full.getsockname())
        url = f"amqp://127.0.0.1:{full.getsockname()[1]}"
        asked = aio_pika.connect(url, timeout=1_000, connection_class=WatchedConnection)
        (asking,), _ = await asyncio.wait({asyncio.create_task(asked)}, timeout=30)
        assert isinstance(asking.exception(), TimeoutError)

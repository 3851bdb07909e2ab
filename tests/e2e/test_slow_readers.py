"""Clients that ask for much and read nothing take nothing from everybody else."""

from __future__ import annotations

import socket
from contextlib import suppress

from tests.kit.eventually import eventually

CONNECTIONS_PER_SERVICE = 128
MOST = 100
PLACES = 32
CLOSED = 7
"""As TCP_INFO says it of a connection that was reset."""
RECORDS = 6
RECORD_BYTES = 700_000


def statuses(readers: list[socket.socket]) -> list[bytes]:
    """Those that have come, none of them taken."""
    found = []
    for reader in readers:
        with suppress(BlockingIOError, ConnectionError):
            found.append(reader.recv(12, socket.MSG_PEEK)[9:])
    return found


def given_up(readers: list[socket.socket]) -> int:
    """How many connections the gateway has ended before its answer was read."""
    return sum(
        reader.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == CLOSED for reader in readers
    )


async def test_who_asks_for_little_or_reads_does_not_wait_for_them(stack):
    sigma = await stack.workspace()
    await sigma.attribute("text")
    await sigma.schema("book", ["text"])
    small = await sigma.record("schema-book", {"text": "short"})
    for _ in range(RECORDS):
        await sigma.record("schema-book", {"text": "x" * RECORD_BYTES})
    key = await sigma.api_key(["read"])
    asked = (
        "GET /api/v1/records HTTP/1.1\r\nHost: x\r\n"
        f"X-Sigma-ApiKey: {key.headers['X-Sigma-ApiKey']}\r\n\r\n"
    ).encode()
    readers = []
    try:
        for _ in range(CONNECTIONS_PER_SERVICE + 12):
            reader = socket.socket()
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
            reader.connect(("127.0.0.1", stack["gateway"].port))
            reader.setblocking(False)
            reader.sendall(asked)
            readers.append(reader)
        await eventually(lambda: len(statuses(readers)) >= MOST, within_s=60)
        assert (await key.get(f"/records/{small['id']}")).status == 200
        assert len(str((await sigma.admin.get("/records")).ok())) > RECORDS * RECORD_BYTES
        # Nothing that a reader did made room: most had been told at once. On a busy machine some
        # may be given up by now, and others have their places.
        found, made_room = statuses(readers), given_up(readers)
        assert found.count(b"200") <= PLACES + made_room
        assert found.count(b"503") >= MOST - PLACES - made_room
    finally:
        for reader in readers:
            reader.close()

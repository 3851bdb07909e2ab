"""Uploads that fall silent take nothing from everybody else."""

from __future__ import annotations

import asyncio

import pytest

CONNECTIONS_PER_SERVICE = 128
HEAD = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
TRIES = 5


@pytest.mark.parametrize(
    "silent",
    [
        HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n',
        HEAD + b"Content-Length: 70000\r\n\r\n{",
    ],
    ids=["chunked", "long"],
)
async def test_who_logs_in_does_not_wait_for_them(stack, silent):
    sigma = await stack.workspace()
    for _ in range(TRIES):
        uploads = []
        try:
            for _ in range(CONNECTIONS_PER_SERVICE + 12):
                reader, writer = await asyncio.open_connection("127.0.0.1", stack["gateway"].port)
                writer.write(silent)
                uploads.append((reader, writer))
            await asyncio.sleep(0.3)
            await sigma.log_in(sigma.email("user-admin"))
            are_given_up = any(b"400" in bytes(reader._buffer[:12]) for reader, _ in uploads)
        finally:
            for _, writer in uploads:
                writer.close()
        # On a busy machine they may be given up before a login could end that waits for nobody.
        if not are_given_up:
            return
    raise AssertionError("each login took until uploads were given up")

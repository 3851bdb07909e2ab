"""Uploads that fall silent take nothing from everybody else."""

from __future__ import annotations

import asyncio

import pytest

CONNECTIONS_PER_SERVICE = 128
HEAD = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
WELL_BEFORE_THEY_ARE_GIVEN_UP_S = 6


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
    port = stack["gateway"].port
    writers = []
    try:
        for _ in range(CONNECTIONS_PER_SERVICE + 12):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(silent)
            writers.append(writer)
        await asyncio.sleep(0.3)
        async with asyncio.timeout(WELL_BEFORE_THEY_ARE_GIVEN_UP_S):
            await sigma.log_in(sigma.email("user-admin"))
    finally:
        for writer in writers:
            writer.close()

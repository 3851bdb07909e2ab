"""Servers that do what no server should: answer without end, lead elsewhere, or stand still."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncssh
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.service.destinations.conftest import FILE
from workflow_service.destinations import DeliveryFailed, opened, uploading
from workflow_service.outbound.client import Outbound

PIECE = b"x" * (1 << 16)
PIECES_MAX = 1_600
KEY = "MDEyMzQ1Njc4OWFiY2RlZg=="


@asynccontextmanager
async def served(answer: Any) -> AsyncIterator[str]:
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        yield str(server.make_url("")).rstrip("/")


def config(kind: str, url: str) -> dict[str, Any]:
    if kind == "s3":
        return {
            "bucket": "exports",
            "path": "",
            "region": "eu-central-1",
            "endpoint": url,
            "accessKeyId": "key",
            "secretAccessKey": "secret",
        }
    account = f"AccountName=shop;AccountKey={KEY};BlobEndpoint={url}/shop"
    return {"container": "exports", "path": "", "connectionString": account}


async def failure(kind: str, config: dict[str, Any], outbound: Outbound) -> str:
    with pytest.raises(DeliveryFailed) as failed:
        async with opened(kind, config, FILE, outbound) as upload:
            await upload.write(b"piece")
            await upload.commit()
    return str(failed.value)


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("kind", ["s3", "azure-blob"])
async def test_an_answer_without_end_is_not_read(outbound, kind, status):
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        await request.read()
        answer = web.StreamResponse(status=status)
        await answer.prepare(request)
        for _ in range(PIECES_MAX):
            await answer.write(PIECE)
            sent += 1
        return answer

    async with served(endless) as url:
        assert "ended the connection" in await failure(kind, config(kind, url), outbound)
    assert sent < PIECES_MAX / 2


@pytest.mark.parametrize("kind", ["s3", "azure-blob"])
async def test_a_redirect_is_not_followed(outbound, kind):
    asked = []

    async def elsewhere(request: web.Request) -> web.Response:
        asked.append(request.path)
        await request.read()
        if request.path == "/elsewhere":
            return web.Response()
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with served(elsewhere) as url:
        assert "answered" in await failure(kind, config(kind, url), outbound)
    assert "/elsewhere" not in asked


async def test_an_error_within_a_success_of_s3_is_an_error(outbound):
    async def refused(request: web.Request) -> web.Response:
        await request.read()
        text = "<Error><Code>AccessDenied</Code><Message>No</Message></Error>"
        return web.Response(text=text, content_type="application/xml")

    async with served(refused) as url:
        reason = await failure("s3", config("s3", url), outbound)
    assert reason == "Access to bucket 'exports' denied"


async def test_a_server_that_takes_nothing_is_given_up(outbound, monkeypatch):
    monkeypatch.setattr(uploading, "STEP_S_MAX", 0.5)

    given_up = asyncio.Event()

    async def still(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await given_up.wait()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(still, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        reason = await failure("s3", config("s3", url), outbound)
        given_up.set()
    assert reason == "The destination did not go on for 0.5 seconds"


async def test_an_sftp_server_that_only_keeps_the_connection_is_given_up(outbound, monkeypatch):
    monkeypatch.setattr(uploading, "STEP_S_MAX", 1.0)

    class Silent(asyncssh.SFTPServer):
        async def open(self, *_: Any) -> Any:
            await asyncio.sleep(30)

    key = asyncssh.generate_private_key("ssh-ed25519")

    class Login(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:
            return False

    server = await asyncssh.listen(
        "127.0.0.1", 0, server_host_keys=[key], server_factory=Login, sftp_factory=Silent
    )
    async with server:
        given = {
            "host": "127.0.0.1",
            "port": server.get_port(),
            "username": "shop",
            "password": "secret",
            "hostKey": key.export_public_key().decode().strip(),
            "path": "",
        }
        reason = await failure("sftp", given, outbound)
    assert reason == "The destination did not go on for 1 seconds"

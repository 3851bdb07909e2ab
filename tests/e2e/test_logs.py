"""What the logs of the running system say: who asked, from where, why refused; and no noise."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from shared.identity import GATEWAY
from tests.kit import identities
from tests.kit.eventually import eventually
from tests.kit.stack import AUTH, RECORDS, SERVICES, WORKFLOW, Stack

TIMES = 20
LEAVES_AFTER_S = 0.1
PATHS = {AUTH: "/api/v1/roles", RECORDS: "/api/v1/records", WORKFLOW: "/api/v1/workflows"}


class Said:
    """What the processes have said since this was made."""

    def __init__(self, stack: Stack) -> None:
        self._logs = {name: stack[name].log for name in SERVICES}
        self._before = {name: log.stat().st_size for name, log in self._logs.items()}

    def text(self, service: str) -> str:
        return self._logs[service].read_bytes()[self._before[service] :].decode()

    def lines(self, service: str, event: str) -> list[dict[str, Any]]:
        every = (json.loads(line) for line in self.text(service).splitlines())
        return [line for line in every if line["event"] == event]

    async def one(self, service: str, event: str, request_id: str) -> dict[str, Any]:
        """The only line of this request; access lines come a moment later."""

        def found() -> list[dict[str, Any]]:
            return [one for one in self.lines(service, event) if one["request_id"] == request_id]

        await eventually(lambda: len(found()) == 1)
        return found()[0]


async def test_a_line_of_the_gateway_names_caller_peer_and_upstream(stack: Stack):
    workspace = await stack.workspace()
    said = Said(stack)
    await workspace.admin.get("/records", headers={"X-Request-Id": "by-user"})
    key = await workspace.api_key()
    await key.get("/records", headers={"X-Request-Id": "by-key"})
    by_user = await said.one(GATEWAY, "request", "by-user")
    assert by_user["caller_kind"] == "user"
    by_key = await said.one(GATEWAY, "request", "by-key")
    assert by_key["caller_kind"] == "api_key"
    for line in (by_user, by_key):
        assert line["workspace"] == workspace.id
        assert line["caller"]
        assert line["peer"] == "127.0.0.1"
        assert line["upstream"] == RECORDS
    in_service = await said.one(RECORDS, "request", "by-key")
    assert (in_service["workspace"], in_service["caller"]) == (workspace.id, by_key["caller"])


async def test_a_refused_login_says_why_in_the_log_and_never_the_address(stack: Stack):
    workspace = await stack.workspace()
    email = f"nobody-{workspace.id}@acme.example"
    said = Said(stack)
    await workspace.user("role-admin", "user-ann")
    for request_id, address in (("unknown", email), ("wrong", workspace.email("user-ann"))):
        answer = await stack.caller(**{"X-Request-Id": request_id}).post(
            "/auth/login", {"email": address, "password": "guessed-1234"}
        )
        assert answer.status == 401
    unknown = await said.one(AUTH, "refused", "unknown")
    assert unknown["reason"] == "no user has this e-mail address"
    assert (unknown["status"], unknown["peer"], unknown["level"]) == (401, "127.0.0.1", "info")
    wrong = await said.one(AUTH, "refused", "wrong")
    assert wrong["reason"].startswith("wrong password for user '")
    assert wrong["reason"].endswith(f"of workspace '{workspace.id}'")
    everything = said.text(AUTH) + said.text(GATEWAY)
    for secret in (email, workspace.email("user-ann"), "guessed-1234"):
        assert secret not in everything


async def test_what_a_caller_may_not_do_is_a_warning_with_the_reason(stack: Stack):
    workspace = await stack.workspace()
    key = await workspace.api_key(["read"])
    said = Said(stack)
    body = {"schemaId": "schema-x", "values": {}}
    refused = await key.post("/records", body, headers={"X-Request-Id": "not-allowed"})
    assert refused.status == 403
    line = await said.one(GATEWAY, "refused", "not-allowed")
    assert (line["status"], line["level"]) == (403, "warning")
    assert line["reason"] == "The API key lacks the permission 'update-data'"
    assert (line["workspace"], line["peer"]) == (workspace.id, "127.0.0.1")
    stranger = stack.caller(**{"X-Sigma-ApiKey": "sigma_sk_live_x", "X-Request-Id": "made-up"})
    assert (await stranger.get("/records")).status == 401
    line = await said.one(GATEWAY, "refused", "made-up")
    assert (line["reason"], line["peer"]) == ("Invalid API key", "127.0.0.1")
    assert "sigma_sk_live_x" not in said.text(GATEWAY) + said.text(AUTH)


def hostile(path: str, headers: dict[str, str]) -> Iterator[tuple[bytes, bool]]:
    """What is sent, and whether the client leaves at once instead of reading the answer."""
    told = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{told}"

    def post(body: bytes, more: str = "", length: int | None = None) -> bytes:
        size = len(body) if length is None else length
        return f"{head}Content-Length: {size}\r\n{more}\r\n".encode() + body

    chunked = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode()
    yield post(b" " * 300_000, length=2_000_000), True
    yield chunked + b"40000\r\n" + b" " * 0x40000 + b"\r\n", True
    yield post(b'{"values": {', length=1_000), True
    yield f"GET {path} HTTP/1.1\r\nHost: x\r\n{told}\r\n".encode(), True
    yield f"{head}Content-Le".encode(), True
    yield chunked + b"zz\r\n", False
    yield chunked + b"5\r\nhello0\r\n\r\n", False
    yield post(b"{"), False
    yield post(b"\xff\xfe\x00"), False
    yield post(b"[" * 100_000), False
    yield post(gzip.compress(b"{}")[:-6], "Content-Encoding: gzip\r\n"), False
    yield post(b"no gzip", "Content-Encoding: gzip\r\n"), False
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", False


def be_hostile(url: str, sent: bytes, *, leaves: bool) -> None:
    at = urlsplit(url)
    with closing(socket.create_connection((at.hostname or "", at.port or 0), timeout=5)) as client:
        if leaves:
            # A reset and no orderly end.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            client.sendall(sent)
            if leaves:
                # By now the server is in the middle of it.
                time.sleep(LEAVES_AFTER_S)
            else:
                client.shutdown(socket.SHUT_WR)
                while client.recv(1 << 16):
                    pass
        except OSError:
            pass


async def test_no_client_leaves_a_traceback_or_an_error_in_any_log(stack: Stack):
    workspace = await stack.workspace()
    key = await workspace.api_key()
    signed = stack.keyring.headers(identities.admin())
    targets = [
        (stack.url, "/api/v1/auth/login", {}),
        (stack.url, "/api/v1/records", dict(key.headers)),
        (stack[AUTH].url, "/api/v1/auth/login", {}),
        *((stack[service].url, path, signed) for service, path in PATHS.items()),
    ]
    said = Said(stack)

    def attack() -> None:
        for url, path, headers in targets:
            for sent, leaves in hostile(path, headers):
                with ThreadPoolExecutor(TIMES) as clients:
                    for _ in range(TIMES if leaves else 2):
                        clients.submit(be_hostile, url, sent, leaves=leaves)

    await asyncio.to_thread(attack)
    for service in SERVICES:
        # Asks for a request of each, so that what went before has been looked at.
        await asyncio.to_thread(stack[service].wait_ready)
        text = said.text(service)
        loud = [
            line
            for line in text.splitlines()
            if "Traceback" in line or '"exception"' in line or '"level":"error"' in line
        ]
        assert loud == [], service
        assert text

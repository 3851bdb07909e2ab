"""Bytes that are no decent request, and what a server may do about them.

    for payload in payloads("/api/v1/auth/login"):
        answer = await asyncio.to_thread(speak, host, port, payload.sent, payload.within_s)
        payload.check(answer)

The table is the same for the gateway and for each service: give it an address that reads a JSON
body, and the headers (credentials, identity) with which a good request would be let through.
"""

from __future__ import annotations

import gzip
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache

import orjson

ANSWER_WITHIN_S = 30.0
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """What came back until the server closed, or until nobody waited any longer.

    `status` is 0 when not a single answer came. `more` are bytes behind the first answer.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    more: bytes
    closed: bool
    reset: bool = False
    interim: tuple[int, ...] = ()

    @property
    def outcome(self) -> tuple[int, object]:
        """Status and parsed body."""
        return self.status, orjson.loads(self.body)


@dataclass(frozen=True, slots=True)
class Payload:
    """What is sent, and which statuses are an honest answer to it."""

    name: str
    sent: bytes = field(repr=False)
    statuses: frozenset[int]
    may_close: bool = False
    within_s: float = ANSWER_WITHIN_S

    def check(self, answer: RawAnswer) -> None:
        """An answer in JSON with the right status, or a closed connection where that is fair."""
        if answer.status == 0:
            assert answer.closed, f"{self.name}: neither an answer nor the end"
            assert self.may_close, f"{self.name}: closed without an answer"
            return
        assert answer.status in self.statuses, f"{self.name}: {answer.status} {answer.body!r}"
        assert answer.headers["content-type"] == "application/json", answer.headers
        assert answer.headers["x-request-id"], answer.headers
        assert not answer.more, f"{self.name}: answered twice, {answer.more[:200]!r}"
        if answer.status >= 400:
            body = orjson.loads(answer.body)
            assert set(body) == {"error", "message"}, body
            assert all(isinstance(each, str) for each in body.values()), body
            assert answer.headers["link"].endswith('rel="help"'), answer.headers


def speak(
    host: str, port: int, sent: bytes, within_s: float = ANSWER_WITHIN_S, *, pause_s: float = 0.0
) -> RawAnswer:
    """Send these bytes as they are and listen until the server closes or time is up.

    With `pause_s` they are sent byte by byte, that long apart.
    """
    ends = time.monotonic() + within_s
    heard = bytearray()
    closed = reset = False
    with socket.create_connection((host, port), timeout=within_s) as connection:
        try:
            if pause_s:
                connection.settimeout(pause_s)
                for at in range(len(sent)):
                    connection.sendall(sent[at : at + 1])
                    try:
                        part = connection.recv(_CHUNK)
                    except TimeoutError:
                        continue
                    heard += part
                    break
            else:
                connection.sendall(sent)
        except (ConnectionError, TimeoutError):
            pass  # It closed before it had everything; what it said may still be there.
        while not closed and (left_s := ends - time.monotonic()) > 0:
            connection.settimeout(left_s)
            try:
                part = connection.recv(_CHUNK)
            except TimeoutError:
                break
            except ConnectionError:
                closed = reset = True
                break
            closed = not part
            heard += part
    return replace(_parsed(bytes(heard)), closed=closed, reset=reset)


def _parsed(heard: bytes) -> RawAnswer:
    interim: list[int] = []
    while True:
        head, end, rest = heard.partition(b"\r\n\r\n")
        if not end or not head.startswith(b"HTTP/"):
            return RawAnswer(0, {}, b"", heard, closed=False, interim=tuple(interim))
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
        if status >= 200:
            break
        interim.append(status)
        heard = rest
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines)
    }
    length = int(headers.get("content-length", len(rest)))
    body, more = rest[:length], rest[length:]
    return RawAnswer(status, headers, body, more, closed=False, interim=tuple(interim))


def request(
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    *,
    close: bool = True,
) -> bytes:
    """A decent request, framed by `Content-Length` when there is a body."""
    lines = {"Host": "sigma.test", **(headers or {})}
    if body is not None:
        lines.setdefault("Content-Length", str(len(body)))
    if close:
        lines.setdefault("Connection", "close")
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + (body or b"")


def payloads(path: str, headers: Mapping[str, str] | None = None) -> list[Payload]:
    """The whole table, for an address that takes a POST with a JSON object."""
    return [*_unparsable(path, headers or {}), *_unreadable(path, headers or {})]


def slow_payloads(path: str) -> list[Payload]:
    """Those that a server must wait for before it gives them up."""
    half = f"POST {path} HTTP/1.1\r\nHost: sigma.test\r\nX-Half: yes".encode()
    return [Payload("half a header", half, frozenset({400}), may_close=True, within_s=60.0)]


def _unparsable(path: str, headers: Mapping[str, str]) -> list[Payload]:
    """What is no HTTP, or no HTTP that two programs would read alike."""

    def raw(lines: str, body: bytes = b"") -> bytes:
        known = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return lines.replace("\n", "\r\n").encode("latin-1") + known.encode() + b"\r\n" + body

    post = f"POST {path} HTTP/1.1\nHost: sigma.test\nContent-Type: application/json\n"
    chunked = post + "Transfer-Encoding: chunked\n"
    bad = frozenset({400})
    large = frozenset({400, 413})
    return [
        Payload("duplicate Host", raw(post + "Host: other.test\nContent-Length: 0\n"), bad),
        Payload("no Host", raw(f"GET {path} HTTP/1.1\n"), bad),
        Payload(
            "Content-Length and Transfer-Encoding",
            raw(chunked + "Content-Length: 4\n", b"0\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n"),
            bad,
        ),
        Payload("two Content-Lengths", raw(post + "Content-Length: 2\nContent-Length: 3\n"), bad),
        Payload("negative Content-Length", raw(post + "Content-Length: -1\n"), bad),
        Payload("endless Content-Length", raw(post + f"Content-Length: {10**30}\n"), large),
        Payload("Content-Length in words", raw(post + "Content-Length: two\n"), bad),
        Payload("oversized header", raw(post + f"X-Large: {'a' * 70_000}\n"), large),
        Payload("too many headers", raw(post + "X-Many: a\n" * 1_000), large),
        Payload("oversized URL", raw(f"GET /{'a' * 70_000} HTTP/1.1\nHost: sigma.test\n"), large),
        Payload("bad method", raw(f"BR\xc4KE {path} HTTP/1.1\nHost: sigma.test\n"), bad),
        Payload("unknown method", raw(f"BREW {path} HTTP/1.1\nHost: sigma.test\n"), bad),
        Payload("bad chunk size", raw(chunked, b"zz\r\n{}\r\n0\r\n\r\n"), bad),
        Payload("bad chunk end", raw(chunked, b"2\r\n{}garbage"), bad),
        Payload("negative chunk", raw(chunked, b"-2\r\n{}\r\n0\r\n\r\n"), bad),
        Payload("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), bad),
        Payload("TLS hello", bytes.fromhex("1603010200010001fc0303") + bytes(200), bad),
        Payload("HTTP/3.0", raw(f"GET {path} HTTP/3.0\nHost: sigma.test\n"), bad),
        Payload("no version", raw(f"GET {path}\n"), bad),
        Payload("Expect: foo", raw(post + "Expect: foo\nContent-Length: 2\n", b"{}"), bad),
        Payload("NUL in the path", raw(f"GET {path}/a\0b HTTP/1.1\nHost: sigma.test\n"), bad),
        Payload("encoded NUL", request("POST", f"{path}/a%00b", headers, b""), bad),
        Payload("NUL in a header", raw(post + "X-Nul: a\0b\nContent-Length: 0\n"), bad),
        Payload("unencoded bytes in the path", raw(f"GET {path}/\xff HTTP/1.1\nHost: a\n"), bad),
        Payload("header without a name", raw(post + ": value\nContent-Length: 0\n"), bad),
        Payload("space before the colon", raw(post + "X-Space : a\nContent-Length: 0\n"), bad),
        Payload("folded header", raw(post + "X-Fold: a\n b\nContent-Length: 0\n"), bad),
        Payload("empty lines only", b"\r\n" * 50 + b"\0\0", bad),
    ]


@cache
def _bomb() -> bytes:
    """Some kilobytes that would be 64 MiB."""
    return gzip.compress(b" " * (64 << 20))


def _unreadable(path: str, headers: Mapping[str, str]) -> list[Payload]:
    """Good HTTP with a body that nobody should take as it stands."""

    def body(text: bytes, **more: str) -> bytes:
        told = {name.replace("_", "-"): value for name, value in more.items()}
        return request("POST", path, {**headers, "Content-Type": "application/json", **told}, text)

    bad = frozenset({400})
    media = frozenset({400, 415})
    # What a parser may also take, as long as it stays an answer of the API.
    taken = frozenset({200, 201, 400, 401, 403, 404, 409})
    return [
        Payload("bad gzip", body(b"no gzip at all", Content_Encoding="gzip"), bad),
        Payload("half a gzip", body(gzip.compress(b"{}")[:-9], Content_Encoding="gzip"), bad),
        Payload(
            "a bomb in gzip",
            body(_bomb(), Content_Encoding="gzip"),
            frozenset({413}),
            within_s=60.0,
        ),
        Payload("unknown encoding", body(b"{}", Content_Encoding="br"), media),
        Payload("bad charset", body(b"{}", Content_Type="application/json; charset=utf-7"), media),
        Payload("bytes that are no UTF-8", body(b'{"a": "\xff\xfe"}'), bad),
        Payload("UTF-16", body('{"a": 1}'.encode("utf-16")), bad),
        Payload("no media type", request("POST", path, headers, b"{}"), media),
        Payload("a form", body(b"a=1", Content_Type="application/x-www-form-urlencoded"), media),
        Payload("malformed JSON", body(b'{"a": '), bad),
        Payload("no body", body(b""), bad),
        Payload("10,000 deep", body(b"[" * 10_000 + b"]" * 10_000), bad),
        Payload("10,000 objects deep", body(b'{"a":' * 10_000 + b"1" + b"}" * 10_000), bad),
        Payload("1e400", body(b'{"a": 1e400}'), bad),
        Payload("50,000 digits", body(b'{"a": ' + b"9" * 50_000 + b"}"), bad),
        Payload("NaN", body(b'{"a": NaN}'), bad),
        Payload("lone surrogate", body(b'{"a": "\\ud800"}'), bad),
        Payload("NUL in a text", body(b'{"email": "a\\u0000b", "password": "x"}'), bad),
        Payload("NUL in a name", body(b'{"a\\u0000b": 1}'), bad),
        Payload("duplicate keys", body(b'{"id": "a", "id": "b"}'), taken),
        Payload("a list", body(b"[]"), bad),
        Payload("null", body(b"null"), bad),
    ]

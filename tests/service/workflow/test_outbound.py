"""The client for outgoing requests, with real servers behind names that the test answers for."""

from __future__ import annotations

import asyncio
import socket
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from shared.errors import ValidationError
from tests.kit.eventually import eventually
from tests.kit.service import Services
from workflow_service.outbound import resolving
from workflow_service.outbound.addresses import Allowed, OutboundFailed, RefusedAddress, Unresolved
from workflow_service.outbound.client import Outbound, TooSlow, Unreachable
from workflow_service.outbound.resolving import TENANT, Busy

PUBLIC = "192.31.196.1"


class Names:
    """A name server: the next list of answers for each question, the last one again and again."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not answer:
            raise OSError("no such name")
        return answer


class Receiver:
    """A server that notes what reaches it."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self.answer)
        return app

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path)
        self.headers.append(dict(request.headers))
        self.bodies.append(await request.read())
        if request.path == "/redirect":
            return web.Response(status=302, headers={"Location": "/secret"})
        if request.path == "/slow":
            await asyncio.sleep(30)
        if request.path == "/large":
            return web.Response(body=bytes(1 << 20))
        if request.path == "/bomb":
            body = zlib.compress(bytes(50 << 20))
            return web.Response(body=body, headers={"Content-Encoding": "deflate"})
        if request.path == "/break":
            assert request.transport is not None
            request.transport.abort()
        return web.Response(text="thanks", headers={"Set-Cookie": "a=b"})


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
async def port(services: Services, receiver: Receiver) -> int:
    return int(urlsplit(await services.serve(receiver.app())).port or 0)


@asynccontextmanager
async def opened(allow: str, names: Names | None = None) -> AsyncIterator[Outbound]:
    outbound = Outbound(Allowed.parse(allow), names)
    try:
        yield outbound
    finally:
        await outbound.close()


async def get(outbound: Outbound, url: str, **more):
    async with outbound.request("POST", url, data=b"body", **more) as answer:
        return answer


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "①②⑦.0.0.1", "0.0.0.0"),
        *("[::1]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "169.254.169.254"),
        *("localhost", "localhost.", "a.LOCALHOST"),
    ],
)
async def test_no_spelling_of_an_address_reaches_this_machine(
    receiver: Receiver, port: int, host: str
):
    async with opened("") as outbound:
        url = f"http://{host}:{port}/"
        with pytest.raises(OutboundFailed) as failed:
            await get(outbound, url)
        assert "not" in str(failed.value)
        with pytest.raises(ValidationError) as refused:
            await outbound.check_url(url, "config.url")
        assert "expects a public address" in refused.value.message
        assert [one.pointer for one in refused.value.violations] == ["/config/url"]
        with pytest.raises(OutboundFailed):
            await outbound.socket(host.strip("[]"), port)
    assert receiver.paths == []


async def test_a_name_that_leads_elsewhere_after_the_check_is_refused_at_the_connection(
    receiver: Receiver, port: int
):
    names = Names([PUBLIC], ["127.0.0.1"])
    async with opened("", names) as outbound:
        url = f"http://rebinding.example:{port}/"
        assert await outbound.check_url(url, "url") == url
        with pytest.raises(RefusedAddress) as refused:
            await get(outbound, url)
        with pytest.raises(RefusedAddress):
            await outbound.socket("rebinding.example", port)
    assert str(refused.value) == ("Host 'rebinding.example' leads to an address that is not public")
    assert len(names.asked) == 3
    assert receiver.paths == []


async def test_the_address_itself_is_judged_when_the_socket_is_made(receiver: Receiver, port: int):
    """Also where no resolver was asked."""
    async with opened("") as outbound:

        async def careless(host: str) -> list[str]:
            return ["127.0.0.1"]

        outbound.resolver.addresses = careless
        with pytest.raises(RefusedAddress):
            await get(outbound, f"http://shop.example:{port}/")
    assert receiver.paths == []


async def test_a_redirect_is_an_answer_and_is_not_followed(receiver: Receiver, port: int):
    async with opened("127.0.0.1") as outbound:
        answer = await get(outbound, f"http://127.0.0.1:{port}/redirect")
    assert (answer.status, receiver.paths) == (302, ["/redirect"])


async def test_an_answer_is_bounded_and_never_unpacked(receiver: Receiver, port: int):
    async with opened("127.0.0.1") as outbound:
        url = f"http://127.0.0.1:{port}"
        cut = await get(outbound, f"{url}/large", answer_bytes_max=1_000)
        bomb = await get(outbound, f"{url}/bomb")
        whole = await get(outbound, f"{url}/", answer_bytes_max=6)
    assert (cut.status, len(cut.body), cut.is_cut) == (200, 1_000, True)
    assert (len(bomb.body) < 100_000, bomb.is_cut) == (True, False)
    assert (whole.body, whole.is_cut) == (b"thanks", False)
    assert receiver.bodies == [b"body"] * 3
    assert "Cookie" not in receiver.headers[2]
    assert receiver.headers[2]["User-Agent"] == "Sigma-PIM"


async def test_what_fails_is_told_in_words_for_the_user(receiver: Receiver, port: int):
    async with opened("127.0.0.1", Names([])) as outbound:
        url = f"http://127.0.0.1:{port}"
        with pytest.raises(TooSlow, match=r"^Host '127.0.0.1' did not answer within 0.2 seconds$"):
            await get(outbound, f"{url}/slow", timeout_s=0.2)
        with pytest.raises(Unreachable, match="ended the connection before its answer"):
            await get(outbound, f"{url}/break")
        with pytest.raises(Unreachable, match="refuses the connection"):
            await get(outbound, "http://127.0.0.1:1/")
        with pytest.raises(Unreachable, match="does not speak TLS as expected"):
            await get(outbound, f"https://127.0.0.1:{port}/")
        with pytest.raises(Unresolved, match=r"^Host 'gone.example' cannot be resolved$"):
            await get(outbound, "http://gone.example/")


async def test_what_is_allowed_by_name_is_open_for_that_name_alone(receiver: Receiver, port: int):
    async with opened("shop.internal", Names(["127.0.0.1"])) as outbound:
        assert (await get(outbound, f"http://shop.internal:{port}/by-name")).status == 200
        for host in ("other.internal", "127.0.0.1"):
            with pytest.raises(RefusedAddress):
                await get(outbound, f"http://{host}:{port}/")
        (await outbound.socket("shop.internal", port)).close()
        info = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))
        outbound.socket_factory_for("shop.internal")(info).close()
        with pytest.raises(RefusedAddress):
            outbound.socket_factory_for("other.internal")(info)
    assert receiver.paths == ["/by-name"]


async def test_a_dead_name_is_asked_for_once_in_a_while():
    names = Names([])
    async with opened("", names) as outbound:
        for _ in range(5):
            assert await outbound.check_url("http://gone.example/", "url")
    assert names.asked == ["gone.example"]


class SlowNames(Names):
    """Names whose server does not answer before it is told to, but for one."""

    def __init__(self) -> None:
        super().__init__([PUBLIC])
        self.released = asyncio.Event()

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        if host.startswith("slow"):
            await self.released.wait()
        return [PUBLIC]


def asks(outbound: Outbound, tenant: str, host: str) -> asyncio.Task[list[str]]:
    async def ask() -> list[str]:
        TENANT.set(tenant)
        return await outbound.resolver.addresses(host)

    return asyncio.create_task(ask())


async def test_a_tenant_with_slow_names_leaves_look_ups_for_others(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(resolving, "LOOKUPS_MAX", 2 * resolving.LOOKUPS_OF_TENANT)
    names = SlowNames()
    async with opened("", names) as outbound:
        slow = [asks(outbound, "ws-1", f"slow-{number}.example") for number in range(200)]
        await eventually(lambda: len(names.asked) >= resolving.LOOKUPS_OF_TENANT)
        for other in ("ws-2", "ws-3"):
            assert await asks(outbound, other, "quick.example") == [PUBLIC]
        assert len(names.asked) == resolving.LOOKUPS_OF_TENANT + 2
        # Half of the look-ups are for who has none.
        busy = asks(outbound, "ws-2", "slow.example")
        await eventually(lambda: "slow.example" in names.asked)
        with pytest.raises(Busy):
            await asks(outbound, "ws-2", "quick.example")
        assert await asks(outbound, "ws-3", "quick.example") == [PUBLIC]
        names.released.set()
        assert await busy == [PUBLIC]
        found = await asyncio.gather(*slow, return_exceptions=True)
        assert found == [[PUBLIC]] * len(slow), "what waits for its turn is asked as well"


async def test_a_host_that_many_ask_for_is_looked_up_once_for_each_tenant():
    names = SlowNames()
    async with opened("", names) as outbound:
        asked = [asks(outbound, "ws-1", "slow.example") for _ in range(100)]
        other = asks(outbound, "ws-2", "slow.example")
        await eventually(lambda: len(names.asked) == 2)
        asked[0].cancel()
        names.released.set()
        assert await asyncio.gather(other, *asked[1:]) == [[PUBLIC]] * 100
    assert len(names.asked) == 2


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://shop.example/", "expects an absolute http or https URL, got 'ftp://shop.example/'"),
        ("shop.example", "expects an absolute http or https URL, got 'shop.example'"),
        ("http:///path", "expects an absolute http or https URL, got 'http:///path'"),
        ("http://a:99999/", "expects an absolute http or https URL, got 'http://a:99999/'"),
        ("http://host:0/", "expects an absolute http or https URL, got 'http://host:0/'"),
        ("http://a b/", "expects an absolute http or https URL, got 'http://a b/'"),
        ("http://ann:pw@shop.example/", "expects a URL without user name and password"),
        ("http://shop.example@127.0.0.1/", "expects a URL without user name and password"),
        ("http://shop.example/" + "x" * 2_048, "exceeds maximum length 2048"),
    ],
)
async def test_a_url_that_cannot_be_asked_is_refused_when_it_is_saved(url: str, told: str):
    async with opened("", Names([PUBLIC])) as outbound:
        with pytest.raises(ValidationError) as refused:
            await outbound.check_url(url, "url")
    assert refused.value.message == f"Field 'url' {told}"


@pytest.mark.parametrize("interim", [b"100 Continue", b"103 Early Hints"])
async def test_interim_answers_without_end_are_given_up(interim: bytes):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with suppress(OSError):
            for _ in range(100 if interim.startswith(b"100") else 10_000):
                writer.write(b"HTTP/1.1 %b\r\n\r\n" % interim)
                await writer.drain()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    outbound = Outbound(Allowed.parse("127.0.0.1"))
    try:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        with pytest.raises(Unreachable, match="did not answer in HTTP"):
            async with outbound.request("POST", url, data=b"{}"):
                pass
    finally:
        await outbound.close()
        server.close()

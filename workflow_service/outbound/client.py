"""The client for addresses that users name: connects only to addresses that were checked.

It follows no redirect, keeps no cookie, uses no proxy, and bounds the time and the answer. The
address is judged where the connection is made, so neither a second answer of the name server nor a
spelling can lead elsewhere.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp import hdrs, web
from aiohttp.http_exceptions import BadHttpMessage
from yarl import URL

from shared.errors import ValidationError, truncated
from shared.http.messages import pointer_to, shown
from workflow_service.outbound.addresses import (
    Allowed,
    OutboundFailed,
    RefusedAddress,
    Unresolved,
    literal,
)
from workflow_service.outbound.resolving import CheckedResolver, Dns, Lookup

CONNECT_TIMEOUT_S: Final = 5.0
IDLE_S_MAX: Final = 4.0
"""Many servers close a connection that was idle for five seconds."""
ANSWER_BYTES_MAX: Final = 1 << 20
URL_LENGTH_MAX: Final = 2_048
INTERIM_MAX: Final = 20
USER_AGENT: Final = "Sigma-PIM"
_SCHEMES: Final = ("http", "https")
Socket = socket.socket

_HOST: Final[ContextVar[str | None]] = ContextVar("outbound_host", default=None)
"""The host of the request in this task: what the operator allows by name is open for it alone."""


class Unreachable(OutboundFailed):
    """No connection, or it ended before the answer did."""

    def __init__(self, message: str, *, is_unsent: bool = False) -> None:
        super().__init__(message)
        self.is_unsent = is_unsent


class TooSlow(OutboundFailed):
    """The answer did not come in time."""


@dataclass(frozen=True, slots=True)
class OutboundAnswer:
    """What the other side answered; `is_cut` if its body went on after `body`."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_cut: bool = False


class _Answer(aiohttp.ClientResponse):
    """Gives up on a server that sends one interim answer (1xx) after the other.

    aiohttp reads on and on, and each of them takes time from everybody else.
    """

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        """The answer; `ClientResponseError` after too many interim ones."""
        protocol = connection.protocol
        read, left = protocol.read, INTERIM_MAX + 1

        async def read_one() -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise BadHttpMessage("too many interim answers")
            return await read()

        protocol.read = read_one
        try:
            return await super().start(connection)
        finally:
            del protocol.read


class Outbound:
    """Requests to addresses that users name. Made while the event loop runs.

    `resolver` and `socket_factory_for` are for other clients that are made of aiohttp; `socket` is
    for clients of other protocols.
    """

    def __init__(self, allowed: Allowed, lookup: Lookup | None = None) -> None:
        self._allowed = allowed
        self._dns = Dns()
        self.resolver = CheckedResolver(allowed, lookup or self._dns)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                # How many requests run at a time is for the callers to bound, per tenant.
                limit=0,
                keepalive_timeout=IDLE_S_MAX,
                use_dns_cache=False,
                resolver=self.resolver,
                socket_factory=lambda info: self._checked_socket(info, _HOST.get()),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            trust_env=False,
            response_class=_Answer,
            # A small answer may be made of gigabytes.
            auto_decompress=False,
            headers={hdrs.USER_AGENT: USER_AGENT, hdrs.ACCEPT_ENCODING: "identity"},
        )

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: Any = None,
        timeout_s: float | None = 10.0,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
    ) -> AsyncIterator[OutboundAnswer]:
        """The answer, whatever its status; `data` are bytes or what yields them.

        A body beyond `answer_bytes_max` is cut. Raises `RefusedAddress`, `Unresolved`,
        `Unreachable` or `TooSlow`, whose message says what happened.
        """
        yield await self._ask(method, url, headers, data, timeout_s, answer_bytes_max)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
        await self.resolver.stop()
        await self._dns.close()

    async def resolve(self, host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
        """The addresses of a host that a connection may lead to, at least one.

        Raises `RefusedAddress` or `Unresolved`.
        """
        found = await self.resolver.resolve(host, port)
        return [(socket.AddressFamily(one["family"]), one["host"]) for one in found]

    async def socket(self, host: str, port: int) -> Socket:
        """A connection to the host, for a client of another protocol, which then owns it.

        Raises as `request` does.
        """
        loop = asyncio.get_running_loop()
        failed: Exception = Unresolved(f"Host '{truncated(host)}' cannot be resolved")
        for family, address in await self.resolve(host, port):
            connecting = socket.socket(family, socket.SOCK_STREAM)
            connecting.setblocking(False)
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await loop.sock_connect(connecting, (address, port))
            except (OSError, TimeoutError) as error:
                connecting.close()
                failed = _described(error, host)
            except BaseException:
                connecting.close()
                raise
            else:
                return connecting
        raise failed

    async def check_url(self, url: str, field: str) -> str:
        """The URL of a field, unless a request to it could not be made.

        Raises `ValidationError` for one that is not http or https, has no host or has credentials
        in it, or leads to an address that is not allowed. A name that does not resolve is allowed:
        it may get an address.
        """
        pointer = pointer_to(field.split("."))
        if len(url) > URL_LENGTH_MAX:
            raise ValidationError.at(
                pointer, f"Field '{field}' exceeds maximum length {URL_LENGTH_MAX}"
            )
        parsed = _parsed(url)
        if parsed is None:
            raise ValidationError.at(
                pointer, f"Field '{field}' expects an absolute http or https URL, got {shown(url)}"
            )
        if parsed.user is not None or parsed.password is not None:
            raise ValidationError.at(
                pointer, f"Field '{field}' expects a URL without user name and password"
            )
        await self.check_host(str(parsed.host), field)
        return url

    async def check_host(self, host: str, field: str) -> None:
        """Raise `ValidationError` if the host leads to an address that is not allowed."""
        try:
            await self.resolver.addresses(host)
        except Unresolved:
            pass
        except RefusedAddress as error:
            raise ValidationError.at(
                pointer_to(field.split(".")),
                f"Field '{field}' expects a public address: {error}",
            ) from None

    def socket_factory_for(self, host: str) -> Callable[[Any], Socket]:
        """What makes sockets for connections to this host, as aiohttp asks for them.

        They raise `RefusedAddress` for an address that a connection may not lead to.
        """
        return lambda info: self._checked_socket(info, host)

    def _checked_socket(self, info: Any, host: str | None) -> Socket:
        family, kind, proto, _, address = info
        self._allowed.check(address[0], host)
        return socket.socket(family, kind, proto)

    async def _ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        data: Any,
        timeout_s: float | None,
        answer_bytes_max: int,
    ) -> OutboundAnswer:
        parsed = _parsed(url)
        if parsed is None:
            raise Unreachable("The URL is not an absolute http or https URL")
        host = str(parsed.host)
        if literal(host) is not None:
            await self.resolver.addresses(host)
        token = _HOST.set(host)
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session.request(
                    method, parsed, headers=headers, data=data, allow_redirects=False
                ) as answer,
            ):
                body = bytearray()
                async for part in answer.content.iter_any():
                    body += part
                    if len(body) > answer_bytes_max:
                        # The rest is not read: the connection cannot be used again.
                        answer.close()
                        break
                return OutboundAnswer(
                    answer.status,
                    answer.headers,
                    bytes(body[:answer_bytes_max]),
                    is_cut=len(body) > answer_bytes_max,
                )
        except aiohttp.ConnectionTimeoutError:
            raise _described(TimeoutError(), host) from None
        except TimeoutError:
            within = "in time" if timeout_s is None else f"within {timeout_s:g} seconds"
            raise TooSlow(f"Host '{truncated(host)}' did not answer {within}") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _described(error, host) from None
        finally:
            _HOST.reset(token)


def _parsed(url: str) -> URL | None:
    """As the client reads it; None for what it cannot ask."""
    try:
        parsed = URL(url)
        # Reading the port may fail as well; nobody listens at port 0.
        usable = parsed.scheme in _SCHEMES and parsed.host and parsed.port
    except ValueError:
        return None
    if not usable or any(character.isspace() or not character.isprintable() for character in url):
        return None
    return parsed


def _described(error: BaseException, host: str) -> OutboundFailed:
    """What went wrong, in words that tell nothing of the network in which this process runs."""
    cause: BaseException = error
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
    if isinstance(cause, OutboundFailed):
        return cause
    match cause:
        case ssl.SSLCertVerificationError() | aiohttp.ClientConnectorCertificateError():
            reason = "has no valid certificate"
        case ssl.SSLError() | aiohttp.ClientSSLError():
            reason = "does not speak TLS as expected"
        case ConnectionRefusedError():
            reason = "refuses the connection"
        case TimeoutError():
            reason = f"did not accept a connection within {CONNECT_TIMEOUT_S:g} seconds"
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError():
            reason = "ended the connection before its answer"
        case ConnectionError():
            reason = "ended the connection"
        case aiohttp.ClientResponseError():
            reason = "did not answer in HTTP"
        case _:
            reason = "cannot be reached"
    is_unsent = isinstance(error, aiohttp.ClientConnectorError) or isinstance(cause, TimeoutError)
    return Unreachable(f"Host '{truncated(host)}' {reason}", is_unsent=is_unsent)


OUTBOUND: Final = web.AppKey("outbound", Outbound)


def outbound(
    allowed: Allowed, lookup: Lookup | None = None
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Provide the client as `app[OUTBOUND]` while the service runs."""

    async def opened(app: web.Application) -> AsyncIterator[None]:
        app[OUTBOUND] = Outbound(allowed, lookup)
        yield
        await app[OUTBOUND].close()

    return opened

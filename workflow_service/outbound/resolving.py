"""Resolves names for outgoing connections: only to addresses that these may lead to."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Sequence
from contextvars import ContextVar
from functools import partial
from typing import Final, Protocol

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import AsyncResolver
from cachetools import TTLCache

from shared.errors import ServiceUnavailable, truncated
from shared.process.waiting import ASKING, KeyedSemaphore
from workflow_service.outbound.addresses import Allowed, Unresolved, literal

LOOKUP_TIMEOUT_S: Final = 5.0
REMEMBERED_S: Final = 10.0
REMEMBERED_MAX: Final = 10_000
LOOKUPS_OF_TENANT: Final = 16
"""At a time; what is more waits."""
LOOKUPS_MAX: Final = 1_000
"""At a time, of all; half of them are for tenants that have none."""

TENANT: Final[ContextVar[str]] = ContextVar("outbound_tenant", default="")
"""For whom this task sends, where it is not a request that does: a workspace."""

_LOCAL: Final = "localhost"


class Busy(Unresolved):
    """So many names are being looked up that this one was not: nothing is known about the host."""


class Lookup(Protocol):
    """Finds the addresses of a name, without judging them."""

    async def __call__(self, host: str) -> Sequence[str]:
        """The addresses, at least one. Raises `OSError` if there are none."""


class Dns:
    """Asks the name servers of the system, in no thread: a slow one makes nobody else wait."""

    def __init__(self) -> None:
        self._resolver: AsyncResolver | None = None

    async def __call__(self, host: str) -> Sequence[str]:
        """The addresses as the system's configuration says, at least one."""
        name = host.lower().rstrip(".")
        if name == _LOCAL or name.endswith(f".{_LOCAL}"):
            # RFC 6761: no name server is asked, and some answer nothing.
            return ["127.0.0.1"]
        if self._resolver is None:
            self._resolver = AsyncResolver(timeout=LOOKUP_TIMEOUT_S / 2, tries=2)
        found = await self._resolver.resolve(host, 0, socket.AF_UNSPEC)
        return [one["host"] for one in found]

    async def close(self) -> None:
        """Give up what is asked."""
        if self._resolver is not None:
            await self._resolver.close()


class CheckedResolver(AbstractResolver):
    """For clients made of aiohttp: gives them no address that was not checked.

    They do not ask it about a host that is an address itself: `Outbound.resolve` does.
    """

    def __init__(self, allowed: Allowed, lookup: Lookup) -> None:
        self._allowed = allowed
        self._lookup = lookup
        self._running: Counter[str] = Counter()
        self._places = KeyedSemaphore(LOOKUPS_OF_TENANT, wait_s=LOOKUP_TIMEOUT_S)
        self._asked: dict[tuple[str, str], asyncio.Task[Sequence[str]]] = {}
        self._failed: TTLCache[str, str] = TTLCache(REMEMBERED_MAX, REMEMBERED_S)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises `RefusedAddress` or `Unresolved`."""
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in await self.addresses(host)
            if family == socket.AF_UNSPEC or (family == socket.AF_INET6) == (":" in address)
        ]

    async def addresses(self, host: str) -> list[str]:
        """The addresses of the host that a connection may lead to, at least one."""
        address = literal(host)
        if address is not None:
            return self._allowed.checked([str(address)], host)
        if host in self._failed:
            raise Unresolved(self._failed[host])
        tenant = _tenant()
        asked = self._asked.get((tenant, host))
        if asked is None:
            asked = asyncio.create_task(self._found(tenant, host), name="look-up of a name")
            self._asked[tenant, host] = asked
            asked.add_done_callback(partial(self._ended, (tenant, host)))
        # Who goes away does not stop it for the others.
        return self._allowed.checked(await asyncio.shield(asked), host)

    async def _found(self, tenant: str, host: str) -> Sequence[str]:
        """One look-up for all that the tenant asks of a host at a time."""
        busy = Busy(f"Host '{truncated(host)}' cannot be resolved at the moment")
        try:
            async with self._places.of(tenant):
                total, own = self._running.total(), self._running[tenant]
                if total >= LOOKUPS_MAX or (own and total >= LOOKUPS_MAX // 2):
                    raise busy
                self._running[tenant] += 1
                try:
                    return await self._looked_up(host)
                finally:
                    self._running[tenant] -= 1
                    self._running += Counter()
        except ServiceUnavailable:
            raise busy from None

    async def _looked_up(self, host: str) -> Sequence[str]:
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                return await self._lookup(host)
        except (OSError, TimeoutError, UnicodeError):
            # Not remembered for long: the name may get an address. A dead one costs few questions.
            self._failed[host] = f"Host '{truncated(host)}' cannot be resolved"
            raise Unresolved(self._failed[host]) from None

    def _ended(self, key: tuple[str, str], asked: asyncio.Task[Sequence[str]]) -> None:
        del self._asked[key]
        if not asked.cancelled():
            # Whoever asked may have gone away.
            asked.exception()

    async def stop(self) -> None:
        """Give up what is asked."""
        asked = [*self._asked.values()]
        for one in asked:
            one.cancel()
        await asyncio.gather(*asked, return_exceptions=True)

    async def close(self) -> None:
        """Belongs to `Outbound`, not to a client that uses it."""


def _tenant() -> str:
    asking = ASKING.get()
    return TENANT.get() or ("" if asking is None else asking.workspace_id)

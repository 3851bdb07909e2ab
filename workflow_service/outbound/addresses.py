"""Which addresses a request may go to: public ones, and those that the operator allows.

The address that a connection leads to is judged, never the name or the spelling that a user wrote:
names resolve to other addresses from one moment to the next.

Sources: the IANA registries of special-purpose addresses for IPv4 and IPv6 (RFC 6890).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final, Self

from shared.errors import truncated

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_REFUSED_IPV4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this host
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # between a provider and its customers
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # the host of a virtual machine of Azure
            "169.254.0.0/16",  # link-local, with the metadata of clouds
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, with broadcast
        ),
    )
)
_GLOBAL_IPV6: Final = IPv6Network("2000::/3")
"""All else is loopback, link-local, private, multicast, reserved, or holds an IPv4 address."""
_REFUSED_IPV6: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments, with Teredo
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "3fff::/20",  # documentation
        ),
    )
)
_HOST_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?"
)


class OutboundFailed(Exception):
    """A request to an address of a user did not succeed; the message is fit for that user."""

    is_unsent = False
    """Whether it is sure that the other side has not got the request."""


class RefusedAddress(OutboundFailed, OSError, ValueError):
    """The address is not public, and the operator does not allow it.

    An `OSError`, so that clients treat it as a connection that failed.
    """

    is_unsent = True


class Unresolved(OutboundFailed, OSError):
    """The host has no address at the moment."""

    is_unsent = True


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the operator allows beside public addresses (`SIGMA_OUTBOUND_ALLOW`)."""

    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read addresses, networks and host names, separated by commas.

        Raises `ValueError` that names the entry.
        """
        networks: list[Network] = []
        hosts = set()
        for entry in filter(None, (part.strip() for part in text.split(","))):
            try:
                networks.append(ip_network(entry))
            except ValueError:
                if "/" in entry or literal(entry) or not _HOST_NAME.fullmatch(entry.lower()):
                    raise ValueError(
                        "expected addresses, networks such as 10.1.0.0/16, or host names,"
                        f" separated by commas, got '{truncated(entry)}'"
                    ) from None
                hosts.add(_plain(entry))
        return cls(tuple(networks), frozenset(hosts))

    def names(self, host: str | None) -> bool:
        """Whether this host is allowed, whatever its addresses are."""
        return host is not None and _plain(host) in self.hosts

    def check(self, ip: str | Address, host: str | None = None) -> None:
        """Raise `RefusedAddress` unless a connection to `host` may lead to this address."""
        address = ip_address(ip)
        if self.names(host) or _is_public(address) or self._lists(address):
            return
        raise RefusedAddress(
            f"Address {address} is not public"
            if host is None or literal(host)
            # Which one it is tells about names that only the operator's own name server knows.
            else f"Host '{truncated(host)}' leads to an address that is not public"
        )

    def checked(self, addresses: Iterable[str], host: str) -> list[str]:
        """Those of the host's addresses that a connection may lead to.

        Raises `RefusedAddress` if there are some, and none of them is allowed.
        """
        found = []
        refusal: RefusedAddress | None = None
        for address in addresses:
            try:
                self.check(address, host)
            except RefusedAddress as error:
                refusal = refusal or error
            else:
                found.append(address)
        if refusal is not None and not found:
            raise refusal
        return found

    def _lists(self, address: Address) -> bool:
        return any(
            address.version == network.version and address in network for network in self.networks
        )


def literal(host: str) -> Address | None:
    """The address that a host is, also in a spelling such as `127.1` or `0x7f000001`."""
    try:
        return ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        pass
    try:
        # What the C library takes for an address, and clients therefore connect to.
        return IPv4Address(socket.inet_aton(host.rstrip(".")))
    except (OSError, ValueError):
        return None


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _REFUSED_IPV4)
    return address in _GLOBAL_IPV6 and not any(address in network for network in _REFUSED_IPV6)


def _plain(host: str) -> str:
    return host.lower().rstrip(".")

"""The origin of a login: failures are counted per e-mail address and network.

Guessing from one network makes nobody wait in another. A device that shows a token which the
user was given before has a count of its own, so that not even a neighbour in the same network makes
it wait.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from typing import Final

# What one subscriber has: an IPv4 address, an IPv6 network.
_IPV6_PREFIX: Final = 64


def network_of(peer: str) -> str:
    """The network of a client's address; what is no address is a network by itself."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
    return str(address)


@dataclass(frozen=True, slots=True)
class Origin:
    """The digests under which an attempt is counted: no address is stored in the clear."""

    account: bytes
    """The e-mail address, over all networks."""
    place: bytes
    """The network, over all addresses."""
    network: bytes
    """The address in this network."""
    attempt: bytes
    """The same, with known devices apart."""

    @classmethod
    def of(cls, address: str, peer: str, *, known_device: bool) -> Origin:
        """The origin of a login with this normalised e-mail address."""
        account = hashlib.sha256(address.encode()).digest()
        place = hashlib.sha256(b"network " + network_of(peer).encode()).digest()
        network = hashlib.sha256(account + place).digest()
        kind = b"known device" if known_device else b"stranger"
        return cls(account, place, network, hashlib.sha256(network + kind).digest())

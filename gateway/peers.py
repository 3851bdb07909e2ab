"""The client's address of a request, also behind trusted proxies."""

from __future__ import annotations

import ipaddress

from aiohttp import web

FORWARDED_FOR = "X-Forwarded-For"
UNKNOWN = "unknown"
_ADDRESS_LENGTH_MAX = 64


def peer_of(request: web.BaseRequest, trusted_hops: int) -> str:
    """The client's address: the other end of the connection, or what trusted proxies say of it.

    Each proxy appends the address of its own client to `X-Forwarded-For`. With n trusted proxies
    the address is therefore the n-th from the end; the client itself may have written what stands
    before it. A header with fewer entries bypassed some of the proxies: then its first entry
    counts. If the entry is no IP address, the other end of the connection is the peer.
    """
    remote = request.remote or UNKNOWN
    if not trusted_hops:
        return remote
    chain = ",".join(request.headers.getall(FORWARDED_FOR, ())).split(",")
    return _address(chain[-min(trusted_hops, len(chain))]) or remote


def _address(text: str) -> str | None:
    """`192.0.2.1`, `192.0.2.1:8080`, `2001:db8::1` or `[2001:db8::1]:8080`, without the port."""
    text = text.strip()
    if len(text) > _ADDRESS_LENGTH_MAX:
        return None
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None

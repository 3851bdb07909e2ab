"""The client's address, also behind trusted proxies (`X-Forwarded-For`)."""

from __future__ import annotations

import ipaddress

from aiohttp import web

FORWARDED_FOR = "X-Forwarded-For"
UNKNOWN = "unknown"
_ADDRESS_LENGTH_MAX = 64


def peer_of(request: web.BaseRequest, trusted_hops: int) -> str:
    """The client's address: that of the connection, or the one that trusted proxies report.

    Each proxy appends the address of its own client to `X-Forwarded-For`. With n trusted proxies
    the client's address is therefore the n-th entry from the end; entries before it may have been
    written by the client. If there are fewer than n entries, the request has bypassed some of the
    proxies, and the first entry counts. If the entry is not an IP address, the address of the
    connection counts.
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

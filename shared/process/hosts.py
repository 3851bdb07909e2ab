"""An address that names several servers: `scheme://user:password@a:1,b:2,c:3/path?query`."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit


def each_host(url: str) -> tuple[str, ...]:
    """The address of each server, in their order; the address itself if there is only one."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    if "," not in hosts:
        return (url,)
    return tuple(
        urlunsplit(parts._replace(netloc=f"{user}{at}{host}")) for host in hosts.split(",")
    )

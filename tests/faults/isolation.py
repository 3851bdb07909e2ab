"""A network of the run's own, and silent cuts in it.

Root runs the whole harness in a new network namespace: nothing outside can be reached or disturbed,
and a cut that is left behind ends with it, as does what was mounted. In there each service reaches
PostgreSQL and RabbitMQ at a loopback address of its own, so that the link of one service can be
cut. Packets are dropped, not refused: nobody is told that the other side is gone.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from tests.kit.stack import SERVICES

INSIDE: Final = "FAULTS_OWN_NETWORK"
ADDRESSES: Final = {service: f"127.0.1.{n}" for n, service in enumerate(SERVICES, start=1)}

ONE_WAY_S: Final = 0.5


def why_not() -> str:
    """Why links cannot be cut here; empty if they can."""
    if os.geteuid() != 0:
        return "a network namespace needs root"
    missing = [name for name in ("unshare", "ip", "iptables") if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


def enter(module: str, arguments: Sequence[str]) -> None:
    """Start this program again in a network of its own, with mounts of its own, if that can be."""
    if INSIDE in os.environ or why_not():
        return
    os.environ[INSIDE] = "1"
    command = ["unshare", "--net", "--mount", sys.executable, "-m", module, *arguments]
    os.execvp(command[0], command)


def open_loopback() -> bool:
    """Whether the process is in a network of its own, whose loopback interface is up now."""
    if INSIDE not in os.environ:
        return False
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    return True


def seen_from(service: str, url: str) -> str:
    """The address of a server as this service reaches it."""
    at = urlsplit(url)
    user, _, place = at.netloc.rpartition("@")
    _, _, port = place.rpartition(":")
    return urlunsplit(at._replace(netloc=f"{user}@{ADDRESSES[service]}:{port}"))


@asynccontextmanager
async def cut(service: str, port: int) -> AsyncIterator[None]:
    """Drop every packet between a service and the server on this port.

    Those from the server first: what is under way is done there, and nobody hears of it.
    """
    address = ADDRESSES[service]
    rules = (
        ["-s", address, "-p", "tcp", "--sport", str(port)],
        ["-d", address, "-p", "tcp", "--dport", str(port)],
    )
    async with _dropping(rules, pause_s=ONE_WAY_S):
        yield


@asynccontextmanager
async def cut_off_port(port: int) -> AsyncIterator[None]:
    """Drop every packet to and from the server on this port."""
    rules = (["-p", "tcp", "--sport", str(port)], ["-p", "tcp", "--dport", str(port)])
    async with _dropping(rules):
        yield


@asynccontextmanager
async def cut_off_address(address: str) -> AsyncIterator[None]:
    """Drop every packet between this address and any other one."""
    rules = (["-s", address, "!", "-d", address], ["-d", address, "!", "-s", address])
    async with _dropping(rules):
        yield


@asynccontextmanager
async def _dropping(rules: Sequence[Sequence[str]], pause_s: float = 0.0) -> AsyncIterator[None]:
    """Drop what any of these rules fits, from one rule to the next with a pause between them."""
    try:
        for rule in rules:
            await _iptables("-I", rule)
            await asyncio.sleep(pause_s)
        yield
    finally:
        for rule in rules:
            await _iptables("-D", rule)


async def _iptables(what: str, rule: Sequence[str]) -> None:
    command = ["iptables", what, "INPUT", *rule, "-j", "DROP"]
    await asyncio.to_thread(subprocess.run, command, check=True)

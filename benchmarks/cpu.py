"""CPU time by process: how much each part of the system has worked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deploy.local.process_figures import children, cpu_seconds
from tests.kit.servers import Servers

_INODE = 9


def used(servers: Servers, processes: Mapping[str, int]) -> dict[str, float]:
    """Seconds so far of these processes (ids by name), of PostgreSQL and of RabbitMQ.

    What the sessions of a process took is apart from the rest of PostgreSQL.
    """
    postgres, rabbit = servers.postgres.private, servers.rabbit.private
    assert postgres is not None
    assert rabbit is not None
    assert postgres.pid is not None
    assert rabbit.pid is not None
    found = {name: cpu_seconds(pid) for name, pid in processes.items()}
    found |= {f"PostgreSQL for {name}": 0.0 for name in processes}
    owners = {port: name for name, pid in processes.items() for port in _ports(pid, postgres.port)}
    rest = cpu_seconds(postgres.pid, with_ended=True)
    for child in children(postgres.pid):
        name = owners.get(_client_port(child) or 0)
        seconds = cpu_seconds(child)
        if name is None:
            rest += seconds
        else:
            found[f"PostgreSQL for {name}"] += seconds
    rabbits = [rabbit.pid, *children(rabbit.pid)]
    return found | {"rest of PostgreSQL": rest, "RabbitMQ": sum(map(cpu_seconds, rabbits))}


def _ports(pid: int, server_port: int) -> list[int]:
    """The local ports of its connections to this server."""
    sockets = {inode: ports for inode, ports in _connections() if ports[1] == server_port}
    found = []
    for file in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = file.readlink()
        except OSError:
            continue
        inode = target.name.removeprefix("socket:[").removesuffix("]")
        if (ports := sockets.get(inode)) is not None:
            found.append(ports[0])
    return found


def _connections() -> list[tuple[str, tuple[int, int]]]:
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    rows = [line.split() for line in lines]
    return [(row[_INODE], (_port(row[1]), _port(row[2]))) for row in rows]


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)


def _client_port(session: int) -> int | None:
    """The port of the client, as the title of the session's process has it."""
    try:
        title = Path(f"/proc/{session}/cmdline").read_text(errors="replace")
    except OSError:
        # It ended since it was listed.
        return None
    port = title.partition("127.0.0.1(")[2].partition(")")[0]
    return int(port) if port.isdigit() else None

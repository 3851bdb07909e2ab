"""Finds free ports, and the process that listens on a port."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

_LISTENS = "0A"


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def listens(pid: int, port: int) -> bool:
    """Whether this very process listens on the port: another program may answer there as well."""
    wanted = f":{port:04X}"
    sockets = {
        f"socket:[{words[9]}]"
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        if Path(table).exists()
        for line in Path(table).read_text().splitlines()[1:]
        if (words := line.split())[3] == _LISTENS and words[1].endswith(wanted)
    }
    with suppress(OSError):
        for opened in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if str(opened.readlink()) in sockets:
                    return True
    return False

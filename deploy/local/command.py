"""Runs the whole system on this machine until Ctrl-C: what `make run` starts.

.venv/bin/python -m deploy.local [--port 8080] [--processes records_service=2] [--folder .run]
"""

from __future__ import annotations

import argparse
import logging
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from deploy.local import demo
from deploy.local.failure import StartFailed
from deploy.local.folder import BROKER, FOLDER, say_who_runs, take
from deploy.local.instances import parse
from deploy.local.progress import say
from deploy.local.settings import PORT, Ports, port_max
from deploy.local.system import System, choose_ports, taken_port
from shared.errors import truncated
from shared.identity import GATEWAY

_NUMBER = re.compile(r"[0-9]{1,5}")


class Interrupted(BaseException):
    """Somebody asked for the end; like KeyboardInterrupt, nothing on the way may take it."""


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise Interrupted


def main() -> int:
    """Run until asked to end; 1 when something failed, 2 for a wrong argument."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local")
    parser.add_argument(
        "--port",
        default=str(PORT),
        help="port of the gateway; the other services use the next ones",
    )
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, help="folder for data, keys and logs"
    )
    parser.add_argument(
        "--processes",
        default="",
        help="how many processes of a service, one by default: records_service=2 gateway=2",
    )
    called = parser.parse_args()
    try:
        processes = parse(called.processes)
    except ValueError as error:
        say(f"make run: PROCESSES: {error}", file=sys.stderr)
        return 2
    most = port_max(processes)
    port = int(called.port) if _NUMBER.fullmatch(called.port) else 0
    if not 1 <= port <= most:
        got = truncated(called.port)
        say(f"make run: PORT must be a number from 1 to {most}, got {got}", file=sys.stderr)
        return 2
    return _run(called.folder.absolute(), Ports(port), processes)


def _run(folder: Path, ports: Ports, processes: Mapping[str, int]) -> int:
    # Errors are reported once, here, and not by the libraries as well.
    logging.getLogger().addHandler(logging.NullHandler())
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for name in ends:
        signal.signal(name, _interrupt)
    code = 0
    system = None
    try:
        say(f"Starting Sigma PIM; its data, keys and logs are in {folder}")
        take(folder)
        asked, ports = ports, choose_ports(ports, processes)
        if ports != asked and (taken := taken_port(asked, processes)) is not None:
            say(f"Port {taken[1]} is taken by another program, so the gateway uses {ports.first}")
        say_who_runs(folder, ports.url(GATEWAY))
        system = System(folder, ports, processes)
        system.start()
        say(demo.welcome(ports.url(GATEWAY), system.logs, folder / BROKER))
        system.watch()
    except Interrupted:
        say("\nStopping")
    except StartFailed as failure:
        say(f"\n{failure}", file=sys.stderr)
        code = 1
    except OSError as error:
        advice = (
            f"If another user started it before, change the owner of {folder}, or run `make clean`."
        )
        say(f"\nmake run: {error}\n{advice}", file=sys.stderr)
        code = 1
    finally:
        for name in ends:
            signal.signal(name, signal.SIG_IGN)
        if system is not None:
            system.stop()
            if system.started:
                say("Everything has stopped")
    return code

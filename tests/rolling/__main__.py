"""Restarts every service under load, and says whether anybody noticed.

    python -m tests.rolling                     each service in turn, then all at once
    python -m tests.rolling --drain 0           must be red: a process that stops without draining
    python -m tests.rolling --from <revision>   begin with the code of a git revision; upgrade
    python -m tests.rolling --rotate            replace the identity keys and the token keys

Exit codes: 0 nothing failed and nothing was lost or doubled; 1 something was; 2 usage error.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import uvloop

from tests.kit.servers import ROOT, Servers
from tests.rolling.balancer import Timing
from tests.rolling.consumer import Listeners
from tests.rolling.fleet import ORDER, Fleet, old_tree
from tests.rolling.load import Load
from tests.rolling.report import Report, load_of_machine, say
from tests.rolling.rotation import rotate
from tests.rolling.upgrade import upgrade

CALM_S = 5.0


def main() -> int:
    """The command line; returns the exit code."""
    asked = _parser().parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sigma-rolling-"))
    servers = Servers(own=True)
    good = False
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            report = runner.run(_run(asked, servers, folder))
        sys.stdout.write("\n".join(report.lines()) + "\n")
        good = report.good
    finally:
        servers.close()
        if good:
            shutil.rmtree(folder)
        else:
            sys.stdout.write(f"The logs of all processes are in {folder}\n")
    return 0 if good else 1


async def _run(asked: argparse.Namespace, servers: Servers, folder: Path) -> Report:
    code = ROOT if asked.revision is None else old_tree(asked.revision, folder)
    # The servers start with blocking calls, before anything else runs.
    fleet = Fleet(
        servers,
        folder,
        code,
        timing=Timing(asked.period, asked.late),
        drain_s=asked.drain,
        seed=asked.seed,
    )
    listeners = Listeners(
        fleet.amqp_url, await servers.postgres.empty_database("example_consumer"), folder
    )
    async with AsyncExitStack() as opened:
        say(f"seed {asked.seed}, drain {asked.drain:g} s, {asked.rate:g} requests/s, logs {folder}")
        opened.push_async_callback(fleet.close)
        await fleet.start()
        await fleet.make_workspace()
        opened.push_async_callback(listeners.close)
        await listeners.start()
        load = Load(fleet.url, asked.rate, asked.seed)
        opened.push_async_callback(load.close)
        load.phase = "nothing restarts"
        await load.start()
        await asyncio.sleep(CALM_S)
        complaints = await _phases(asked, fleet, load)
        await load.stop()
        say(f"reading everything back; {load_of_machine()}")
        return Report(
            samples=load.samples,
            writes=load.ledger.writes,
            lost_writes=await load.ledger.lost(load.caller(load.token)),
            heard=await listeners.heard(load.ledger),
            stops=fleet.stops,
            drain_s=asked.drain,
            unanswered=fleet.unanswered,
            latest_s=fleet.latest_s,
            complaints=complaints,
        )


async def _phases(asked: argparse.Namespace, fleet: Fleet, load: Load) -> list[str]:
    async def phase(name: str, work: Callable[[], Awaitable[object]]) -> None:
        load.phase = name
        began = time.monotonic()
        before = len(load.samples)
        await work()
        await fleet.believed()
        await asyncio.sleep(CALM_S)
        failed = sum(bool(sample.problem) for sample in load.samples[before:])
        say(f"{name}: {time.monotonic() - began:.0f} s, failed {failed}")

    if asked.revision is not None:
        return await upgrade(fleet, phase)
    if asked.rotate:
        return await rotate(fleet, load, phase)
    for service in asked.services:
        await phase(service, partial(fleet.roll, service))
    if len(asked.services) > 1:
        await phase("all at once", partial(fleet.roll_all, asked.services))
    return []


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.rolling", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--from", dest="revision", metavar="REVISION", help="upgrade from this one")
    kind.add_argument("--rotate", action="store_true", help="replace all keys")
    parser.add_argument("--services", nargs="+", choices=ORDER, default=ORDER)
    parser.add_argument("--rate", type=float, default=100.0, help="requests per second")
    parser.add_argument("--drain", type=float, default=5.0, help="SIGMA_DRAIN_SECONDS")
    parser.add_argument("--period", type=float, default=2.0, help="seconds between probes")
    parser.add_argument("--late", type=float, default=5.0, help="how late a balancer may be")
    parser.add_argument("--seed", type=int, default=1)
    return parser


if __name__ == "__main__":
    sys.exit(main())

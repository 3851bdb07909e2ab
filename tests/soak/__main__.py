"""Uses every surface at a constant rate for a while, and says whether anything has grown.

    python -m tests.soak                    thirty minutes, in windows of five
    python -m tests.soak --minutes 60
    python -m tests.soak --clocks 0         all processes with the same clock; else 5 s apart

Two processes of each service. The second window is compared with the last one: memory, connections,
bloat of tables, age of the outbox and p99 may be a tenth more, and nothing may fail or be lost.

Exit codes: 0 all of it held; 1 something did not; 2 usage error.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from tests.kit.servers import Servers
from tests.rolling.consumer import Listeners
from tests.rolling.load import Load
from tests.rolling.report import Report, load_of_machine, say
from tests.soak.fleet import ApartFleet
from tests.soak.gauges import Gauges
from tests.soak.surfaces import Surfaces
from tests.soak.verdict import Growth, growths

WINDOWS_MIN = 3
"""The first is for warming up; the second is compared with the last."""


def main() -> int:
    """The command line; returns the exit code."""
    parser = _parser()
    asked = parser.parse_args()
    if asked.minutes < WINDOWS_MIN * asked.window:
        least = f"{WINDOWS_MIN * asked.window:g}"
        parser.error(f"--minutes must be at least {least}, which is three windows")
    folder = Path(tempfile.mkdtemp(prefix="sigma-soak-"))
    servers = Servers(own=True)
    good = False
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            report, found, unheard = runner.run(_run(asked, servers, folder))
        good = report.good and not unheard and all(growth.good for growth in found)
        say("\n".join(report.lines()[:-1]))
        say("\n".join([*(growth.line() for growth in found), *unheard]))
        say("green" if good else "RED")
    finally:
        servers.close()
        if good:
            shutil.rmtree(folder)
        else:
            say(f"The logs of all processes are in {folder}")
    return 0 if good else 1


async def _run(
    asked: argparse.Namespace, servers: Servers, folder: Path
) -> tuple[Report, Sequence[Growth], Sequence[str]]:
    # The servers start with blocking calls, before anything else runs.
    fleet = ApartFleet(servers, folder, clocks_apart_s=asked.clocks)
    listeners = Listeners(
        fleet.amqp_url, await servers.postgres.empty_database("example_consumer"), folder
    )
    windows = round(asked.minutes / asked.window)
    async with AsyncExitStack() as opened:
        say(
            f"{windows} windows of {asked.window:g} minutes, {asked.rate:g} requests/s besides all "
            f"other surfaces, clocks {asked.clocks:g} s apart, logs {folder}"
        )
        opened.push_async_callback(fleet.close)
        await fleet.start()
        await fleet.make_workspace()
        opened.push_async_callback(listeners.close)
        await listeners.start()
        load = Load(fleet.url, asked.rate, asked.seed)
        opened.push_async_callback(load.close)
        load.phase = "window 1"
        await load.log_in_again()
        surfaces = await opened.enter_async_context(Surfaces(load))
        await load.start()
        gauges = await Gauges.of(fleet)
        for number in range(1, windows + 1):
            load.phase = f"window {number}"
            await gauges.watch(load.phase, asked.window * 60)
            say(f"{load.phase}: {gauges.line(load.phase)}, {load_of_machine()}")
        await surfaces.stop()
        await load.stop()
        report = Report(
            samples=load.samples,
            writes=load.ledger.writes,
            lost_writes=await load.ledger.lost(load.caller(load.token)),
            heard=await listeners.heard(load.ledger),
            stops=[],
            drain_s=fleet.drain_s,
            unanswered=fleet.unanswered,
            latest_s=fleet.latest_s,
        )
        found = growths(gauges, load.samples, "window 2", f"window {windows}")
        return report, found, await surfaces.unheard()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--window", type=float, default=5.0, help="minutes of one window")
    parser.add_argument("--rate", type=float, default=50.0, help="requests per second")
    parser.add_argument("--clocks", type=float, default=5.0, help="seconds between two clocks")
    parser.add_argument("--seed", type=int, default=1)
    return parser


if __name__ == "__main__":
    sys.exit(main())

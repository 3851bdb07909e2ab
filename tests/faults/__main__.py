"""Breaks the running system, and says whether anything that was promised was lost.

    python -m tests.faults                      every experiment in full, one after the other
    python -m tests.faults kill-broker poison   these only
    python -m tests.faults --short              few kills, short outages, no rolling restart
    python -m tests.faults --planted            each with a bug planted that has to turn it red

Exit codes: 0 everything is as it has to be; 1 something is not; 2 usage error.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from tests.faults import isolation, restarts
from tests.faults.catalogue import EXPERIMENTS, Experiment
from tests.faults.experiments import FULL, SHORT, Form
from tests.faults.planted import copied
from tests.faults.run import CuttableStack, Result, run
from tests.kit.servers import ROOT, Servers

BY_NAME = {experiment.name: experiment for experiment in EXPERIMENTS}
EVERY = (*BY_NAME, restarts.NAME)


def main() -> int:
    """The command line; returns the exit code."""
    parser = _parser()
    asked = parser.parse_args()
    isolation.enter(sys.argv[1:])
    isolated = isolation.open_loopback()
    for name in ("aio_pika", "aiormq"):
        # They log every failed attempt to connect, of which there are many here.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="sigma-faults-"))
    if unknown := set(asked.experiments) - set(EVERY):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(EVERY)}")
    names = asked.experiments or [*BY_NAME, *(() if asked.short else (restarts.NAME,))]
    chosen = [BY_NAME[name] for name in names if name != restarts.NAME]
    red = []
    for experiment in list(chosen):
        if experiment.cuts and not isolated:
            _say(f"{experiment.name}: skipped, {isolation.why_not()}")
            chosen.remove(experiment)
    if asked.planted:
        red = [one.name for one in chosen if not _planted(one, folder, isolated=isolated)]
    elif chosen:
        form = SHORT if asked.short else FULL
        red = [one.name for one in _all(chosen, form, folder, isolated=isolated) if not one.good]
    if restarts.NAME in names and not restarts.roll(_say, planted=asked.planted):
        red.append(restarts.NAME)
    if red:
        _say(f"RED: {', '.join(red)}. The logs of all processes are in {folder}")
        return 1
    shutil.rmtree(folder)
    _say("green")
    return 0


def _all(chosen: list[Experiment], form: Form, folder: Path, *, isolated: bool) -> list[Result]:
    """One after the other on one stack: what an experiment leaves behind, the next one meets."""
    results = []
    with _running(folder, ROOT, isolated=isolated) as stack:
        for experiment in chosen:
            results.append(_run(experiment, stack, folder / experiment.name, form))
            _say("\n".join(results[-1].lines()))
    return results


def _planted(experiment: Experiment, folder: Path, *, isolated: bool) -> bool:
    """Whether the bug of an experiment turns it red, for the right reason."""
    place = folder / f"{experiment.name}-planted"
    place.mkdir()
    tree = copied(place / "code")
    experiment.bug.plant(tree)
    try:
        with _running(place, tree, isolated=isolated) as stack:
            result = _run(experiment, stack, place / "scene", experiment.planted_form)
    except AssertionError as error:
        _say(f"planted: {experiment.bug.what}: the services do not start with it\n{error}"[:2_000])
        return False
    found = any(violation.kind is experiment.finds for violation in result.violations)
    said = "found" if found else "NOT FOUND"
    _say(f"planted: {experiment.bug.what}: {said} ({experiment.finds})")
    _say("\n".join(result.lines()))
    return found


@contextmanager
def _running(folder: Path, code: Path, *, isolated: bool) -> Iterator[CuttableStack]:
    """Servers and services of their own, until the end of the block."""
    servers = Servers(own=True, also_on=tuple(isolation.ADDRESSES.values()) if isolated else ())
    try:
        stack = CuttableStack(servers, folder, code, is_cuttable=isolated)
        try:
            stack.wait_ready()
            yield stack
        finally:
            stack.close()
    finally:
        servers.close()


def _run(experiment: Experiment, stack: CuttableStack, folder: Path, form: Form) -> Result:
    folder.mkdir()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run(experiment, stack, folder, form))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("experiments", nargs="*", metavar="experiment", help=", ".join(EVERY))
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--short", action="store_true", help="few kills, short outages")
    form.add_argument("--planted", action="store_true", help="with a bug, which has to be found")
    return parser


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

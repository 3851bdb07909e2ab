"""The command line of experiments, each with a bug that has to turn it red.

`make faults` and `make failover` differ in what they break and on which servers.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from tests.faults import isolation
from tests.faults.catalogue import Experiment
from tests.faults.experiments import Form
from tests.faults.planted import copied
from tests.faults.run import CuttableStack, Result, run
from tests.kit.file_servers import sshd
from tests.kit.servers import ROOT, Servers

Last = Callable[[Callable[[str], None], bool], bool]
"""Whether it was green; `say`, and whether its bug is planted."""


@dataclass(frozen=True, slots=True)
class Suite:
    """Experiments that run one after the other on one stack.

    `last` is one more, by its name, that needs no stack and is left out of the short form.
    """

    module: str
    doc: str
    experiments: Sequence[Experiment]
    full: Form
    short: Form
    servers: Callable[[bool], Servers]
    """Given whether the network is our own."""
    cuts_services: bool
    """Whether each service has an address of its own, so that it can be cut off."""
    last: tuple[str, Last] | None = None
    also_planted: Sequence[Experiment] = ()
    """Some of the experiments again, with other bugs."""


def run_suite(suite: Suite) -> int:
    """Do what the command line asks for; returns the exit code."""
    by_name = {experiment.name: experiment for experiment in suite.experiments}
    last_name = suite.last[0] if suite.last else ""
    every = [*by_name, *([last_name] if last_name else [])]
    parser = _parser(suite, every)
    asked = parser.parse_args()
    if unknown := set(asked.experiments) - set(every):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(every)}")
    isolation.enter(suite.module, sys.argv[1:])
    isolated = isolation.open_loopback()
    for name in ("aio_pika", "aiormq"):
        # They log every failed attempt to connect, of which there are many here.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="sigma-faults-"))
    names = asked.experiments or [*by_name, *([] if asked.short or not last_name else [last_name])]
    chosen = [by_name[name] for name in names if name in by_name]
    red = []
    for experiment in list(chosen):
        lacks = isolation.why_not() if experiment.cuts and not isolated else ""
        if experiment.exports and sshd() is None:
            lacks = "there is no sshd on this machine (Debian: apt install openssh-server)"
        if lacks:
            _say(f"{experiment.name}: skipped, {lacks}")
            chosen.remove(experiment)
    if asked.planted:
        chosen += [one for one in suite.also_planted if by_name[one.name] in chosen]
        red = [one.name for one in chosen if not _planted(suite, one, folder, isolated)]
    elif chosen:
        form = suite.short if asked.short else suite.full
        red = [one.name for one in _all(suite, chosen, form, folder, isolated) if not one.good]
    if suite.last and last_name in names and not suite.last[1](_say, asked.planted):
        red.append(last_name)
    if red:
        _say(f"RED: {', '.join(red)}. The logs of all processes are in {folder}")
        return 1
    shutil.rmtree(folder)
    _say("green")
    return 0


def _all(
    suite: Suite, chosen: list[Experiment], form: Form, folder: Path, isolated: bool
) -> list[Result]:
    """One after the other on one stack: what an experiment leaves behind, the next one meets."""
    results = []
    with _running(suite, folder, ROOT, isolated) as stack:
        for experiment in chosen:
            results.append(_run(experiment, stack, folder / experiment.name, form))
            _say("\n".join(results[-1].lines()))
    return results


def _planted(suite: Suite, experiment: Experiment, folder: Path, isolated: bool) -> bool:
    """Whether the bug of an experiment turns it red, for the right reason."""
    place = Path(tempfile.mkdtemp(prefix=f"{experiment.name}-planted-", dir=folder))
    tree = copied(place / "code")
    experiment.bug.plant(tree)
    try:
        with _running(suite, place, tree, isolated) as stack:
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
def _running(suite: Suite, folder: Path, code: Path, isolated: bool) -> Iterator[CuttableStack]:
    """Servers and services of their own, until the end of the block."""
    servers = suite.servers(isolated)
    is_cuttable = isolated and suite.cuts_services
    try:
        stack = CuttableStack(servers, folder, code, is_cuttable=is_cuttable)
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


def _parser(suite: Suite, every: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {suite.module}", description=suite.doc)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("experiments", nargs="*", metavar="experiment", help=", ".join(every))
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--short", action="store_true", help="few kills, short outages")
    form.add_argument("--planted", action="store_true", help="with a bug, which has to be found")
    return parser


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()

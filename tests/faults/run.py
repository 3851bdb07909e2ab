"""Runs one experiment, on a stack that may be shared with others, and says what was found."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.faults.catalogue import Experiment
from tests.faults.checker import Kind, Violation, judge
from tests.faults.experiments import Form
from tests.faults.history import History
from tests.faults.isolation import seen_from
from tests.faults.scene import Scene
from tests.kit.servers import Servers
from tests.kit.stack import Stack

SHOWN = 3


class CuttableStack(Stack):
    """Each service reaches both servers at an address of its own, if the network is our own."""

    def __init__(self, servers: Servers, folder: Path, code: Path, *, is_cuttable: bool) -> None:
        self._is_cuttable = is_cuttable
        super().__init__(servers, folder, code)

    def environment(self, service: str) -> dict[str, str]:
        env = super().environment(service)
        if self._is_cuttable:
            for name in ("SIGMA_AMQP_URL", "SIGMA_DATABASE_URL"):
                if name in env:
                    env[name] = seen_from(service, env[name])
        return env


@dataclass(frozen=True, slots=True)
class Result:
    """What one experiment found. `lines` to print."""

    name: str
    violations: list[Violation]
    history: History
    seconds: float
    answers: Counter[int]
    unanswered: int

    @property
    def good(self) -> bool:
        return not self.violations

    def lines(self) -> list[str]:
        history = self.history
        outcomes = Counter(str(write.outcome) for write in history.writes)
        told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
        statuses = ", ".join(f"{n} x {status}" for status, n in sorted(self.answers.items()))
        heard = {name: len(each.heard) for name, each in history.listeners.items()}
        distinct = {
            name: len({c.id for c in each.heard}) for name, each in history.listeners.items()
        }
        again = ", ".join(f"{name} {n - distinct[name]}" for name, n in heard.items())
        return [
            f"{self.name}: {'green' if self.good else 'RED'}, {self.seconds:.0f} s",
            f"  writes {len(history.writes)} ({told}); answers {statuses}; none {self.unanswered}",
            f"  events {len(history.changes)}; delivered again with the same id: {again}",
            *self._recoveries(),
            *self._wrong(),
        ]

    def _recoveries(self) -> list[str]:
        by_what: dict[str, list[float]] = {}
        for one in self.history.recoveries:
            by_what.setdefault(f"{one.what} (at most {one.seconds_max:g} s)", []).append(
                one.seconds
            )
        return [
            f"  as before, {what}: {len(s)} times, median {sorted(s)[len(s) // 2]:.1f} s,"
            f" longest {max(s):.1f} s"
            for what, s in by_what.items()
        ]

    def _wrong(self) -> list[str]:
        counts = Counter(violation.kind for violation in self.violations)
        lines = []
        for kind in Kind:
            shown = [one.what[:300] for one in self.violations if one.kind is kind][:SHOWN]
            if counts[kind]:
                lines += [f"  {kind}: {counts[kind]}", *(f"    {what}" for what in shown)]
        return lines or ["  " + ", ".join(f"{kind} 0" for kind in Kind)]


async def run(experiment: Experiment, stack: Stack, folder: Path, form: Form) -> Result:
    """One experiment in a workspace of its own."""
    began = time.monotonic()
    async with (
        stack.lent(),
        Scene(
            stack,
            folder,
            experiment.name,
            clients=form.clients,
            pause_s=form.pause_s,
            patience_s=form.patience_s,
            more_ears=dict(experiment.more_ears),
        ) as scene,
    ):
        try:
            await experiment.fault(scene, form)
        except AssertionError as error:
            scene.found.unfinished.append(str(error))
        history = await scene.history()
        if scene.writers.unanswered and not experiment.gateway_dies:
            what = f"{scene.writers.unanswered} requests got no answer, though the gateway lived"
            history.answers.append(what)
        return Result(
            experiment.name,
            judge(history),
            history,
            time.monotonic() - began,
            scene.writers.answers,
            scene.writers.unanswered,
        )

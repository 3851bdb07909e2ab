"""What was seen, as a table and as a verdict."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.rolling.consumer import Heard
from tests.rolling.fleet import STOP_BESIDES_DRAIN_S, Stop
from tests.rolling.load import Sample

SHOWN = 5


@dataclass(slots=True)
class Report:
    """Everything that one run has to say. `lines` to print, `good` for the exit code."""

    samples: Sequence[Sample]
    writes: int
    lost_writes: Sequence[str]
    heard: Heard
    stops: Sequence[Stop]
    drain_s: float
    unanswered: int
    latest_s: float
    complaints: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.problem]

    @property
    def bad_stops(self) -> list[Stop]:
        within_s = self.drain_s + STOP_BESIDES_DRAIN_S
        return [stop for stop in self.stops if stop.exit_code != 0 or stop.seconds > within_s]

    @property
    def good(self) -> bool:
        heard = self.heard
        wrong = (self.lost_writes, heard.lost, heard.doubled, heard.late, self.complaints)
        return bool(self.samples) and not (self.failed or self.bad_stops or any(wrong))

    def lines(self) -> list[str]:
        heard, failed, bad_stops = self.heard, self.failed, self.bad_stops
        longest = max((stop.seconds for stop in self.stops), default=0.0)
        kept = sum(sample.keep_alive for sample in failed)
        events = (
            f"events               {heard.expected}, lost {len(heard.lost)},"
            f" doubled {len(heard.doubled)}, out of order {len(heard.late)};"
            f" delivered again with the same id: {heard.redelivered}"
        )
        balanced = (
            f"balancers            found no replica for {self.unanswered} connections,"
            f" noticed a stop after {self.latest_s:.1f} s at the latest"
        )
        stops = f"{len(self.stops)}, the slowest in {longest:.1f} s (drain {self.drain_s:g} s)"
        return [
            f"{'phase':<50}{'requests':>9}{'failed':>7}{'p50 ms':>8}{'p99 ms':>8}{'max ms':>8}",
            *(_phase(name, samples) for name, samples in _by_phase(self.samples)),
            *_failures(failed),
            f"requests             {len(self.samples)}, failed {len(failed)} (keep-alive {kept})",
            f"acknowledged writes  {self.writes}, lost {len(self.lost_writes)}",
            *_some(self.lost_writes),
            events,
            *_some([*heard.lost, *heard.doubled, *heard.late]),
            balanced,
            f"processes stopped    {stops}",
            *_some([f"{s.name}: exit code {s.exit_code}, {s.seconds:.1f} s" for s in bad_stops]),
            *(f"wrong: {complaint}" for complaint in self.complaints),
            "green" if self.good else "RED",
        ]


def _by_phase(samples: Iterable[Sample]) -> list[tuple[str, list[Sample]]]:
    phases: dict[str, list[Sample]] = {}
    for sample in samples:
        phases.setdefault(sample.phase, []).append(sample)
    return list(phases.items())


def _phase(name: str, samples: Sequence[Sample]) -> str:
    ms = sorted(1000 * sample.seconds for sample in samples)
    failed = sum(bool(sample.problem) for sample in samples)
    p50, p99 = (ms[int(part * (len(ms) - 1))] for part in (0.5, 0.99))
    return f"{name:<50}{len(ms):>9}{failed:>7}{p50:>8.0f}{p99:>8.0f}{ms[-1]:>8.0f}"


def _failures(failed: Iterable[Sample]) -> list[str]:
    """The kinds of failures, most frequent first."""
    kinds = Counter((s.phase, s.kind, s.keep_alive, s.problem[:160]) for s in failed)
    return [
        f"  {count} x {kind} ({'kept' if kept else 'new'} connection) during {phase}: {problem}"
        for (phase, kind, kept, problem), count in kinds.most_common(2 * SHOWN)
    ]


def _some(lines: Sequence[str]) -> list[str]:
    more = [f"  and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return [f"  {line}" for line in lines[:SHOWN]] + more


def say(text: str) -> None:
    """Print a line at once, for whoever watches."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def load_of_machine() -> str:
    """How much else the machine has to do."""
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    return f"{busy:.1f} processes per core want to run"

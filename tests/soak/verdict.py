"""Whether the last window is as the settled one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.rolling.load import Sample
from tests.soak.gauges import Gauges

MORE: Final = 0.1
UNSEEN: Final = {
    "memory": 3.0,
    "connections": 1.0,
    "dead and free": 10.0,
    "age": 1.0,
    "p99": 10.0,
}
"""What is too little to count, in the unit of what was looked at, where a tenth is less."""


@dataclass(frozen=True, slots=True)
class Growth:
    """Of one thing between the settled window and the last."""

    what: str
    before: float
    after: float

    @property
    def good(self) -> bool:
        unseen = next(least for name, least in UNSEEN.items() if self.what.startswith(name))
        return self.after <= max(self.before * (1 + MORE), self.before + unseen)

    def line(self) -> str:
        said = "" if self.good else "  GREW"
        return f"{self.what:<60}{self.before:>10.1f}{self.after:>10.1f}{said}"


def growths(gauges: Gauges, samples: Sequence[Sample], settled: str, last: str) -> list[Growth]:
    """One for everything that was looked at."""
    before, after = gauges.of_window(settled), gauges.of_window(last)
    found = [Growth(what, before[what], after.get(what, 0.0)) for what in before]
    return [
        *found,
        Growth("p99 of the requests, ms", p99_ms(samples, settled), p99_ms(samples, last)),
    ]


def p99_ms(samples: Sequence[Sample], window: str) -> float:
    """Of all requests that began in a window."""
    ms = sorted(1000 * sample.seconds for sample in samples if sample.phase == window)
    return ms[int(0.99 * (len(ms) - 1))]

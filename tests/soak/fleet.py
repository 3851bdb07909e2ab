"""Two processes of each service, the second of which has a clock that is some seconds ahead."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from deploy.local.settings import HOST, WORKFLOW
from tests.kit.processes import Process
from tests.kit.servers import ROOT, Servers
from tests.rolling.balancer import Timing
from tests.rolling.fleet import Fleet

LIBRARIES = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1")


class ApartFleet(Fleet):
    """As `Fleet`. PostgreSQL and RabbitMQ have the clock of the machine."""

    def __init__(self, servers: Servers, folder: Path, *, clocks_apart_s: float) -> None:
        super().__init__(servers, folder, ROOT, timing=Timing(2.0, 5.0), drain_s=5.0, seed=1)
        self._clocks_apart_s = clocks_apart_s
        self._configured: Counter[str] = Counter()

    @property
    def processes(self) -> tuple[Process, ...]:
        """All that run."""
        return tuple(self._all)

    def environment(self, service: str) -> dict[str, str]:
        self._configured[service] += 1
        is_second = self._configured[service] % 2 == 0
        ahead = another_clock(self._clocks_apart_s) if is_second and self._clocks_apart_s else {}
        # Where the receiver of the webhook is.
        outbound = {"SIGMA_OUTBOUND_ALLOW": HOST} if service == WORKFLOW else {}
        return super().environment(service) | ahead | outbound


def another_clock(ahead_s: float) -> dict[str, str]:
    """Variables with which a process sees a time that is so far ahead, by Debian's `faketime`.

    Its clock for durations is as far ahead, which changes none of them. Where it is left alone
    (`FAKETIME_DONT_FAKE_MONOTONIC`), what waits for a moment of that clock waits as much longer,
    or fails: threads for the interpreter, among others.
    """
    found = [path for pattern in LIBRARIES for path in Path("/").glob(pattern[1:])]
    assert found, "libfaketime is not installed (Debian: apt install faketime)"
    return {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME": f"{ahead_s:+g}s",
        "NO_FAKE_STAT": "1",
    }

"""Rate, errors and duration of requests by workspace, of those workspaces that matter.

A label for each of 10,000 workspaces would be a million series. So a process names the workspaces
that take most of its time, and those with most failures; all others are `(other)` together.

Every series only grows while it is there, so `rate` is right for each, and their sum is that of
all requests. The names change once a minute at most, when somebody reads the metrics: a new name
begins with 0, and what was counted before stays with `(other)`; a name that goes stays until the
next change with its last value, and `(other)` counts on. See docs/adr/0099.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import REGISTRY
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.process.heavy_hitters import HeavyHitters

BY_TIME: Final = 16
BY_FAILURES: Final = 8
NAMED_MAX: Final = BY_TIME + BY_FAILURES
CHANGE_EVERY_S: Final = 60.0
"""Longer than any Prometheus waits between two readings: each sees the last value of a name."""
OTHER: Final = "(other)"
NONE: Final = "(none)"
"""Requests that are nobody's yet, or of another service on its own. No id has brackets."""
BOUNDS_S: Final = (0.01, 0.05, 0.25, 1.0, 5.0)
CLASSES: Final = ("2xx", "3xx", "4xx", "5xx")
_FAILURES_BEGIN: Final = 500
_NOBODY: Final = ("", "*")


class _Series:
    """What is counted of one workspace, or of all others."""

    __slots__ = ("answers", "buckets", "seconds")

    def __init__(self) -> None:
        self.answers = [0] * len(CLASSES)
        self.buckets = [0] * (len(BOUNDS_S) + 1)
        self.seconds = 0.0


class WorkspaceMeasures(Collector):
    """Requests of the named workspaces and of the others."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_time = HeavyHitters()
        self._by_failures = HeavyHitters()
        self._other = _Series()
        self._none = _Series()
        self._named: dict[str, _Series] = {}
        self._leaving: dict[str, _Series] = {}
        self._change_at = clock()

    def count(self, workspace_id: str, status: int, seconds: float | None) -> None:
        """One request was answered; `seconds` is None if it waited for news."""
        if workspace_id in _NOBODY:
            series = self._none
        else:
            series = self._named.get(workspace_id, self._other)
            if seconds is not None:
                self._by_time.add(workspace_id, seconds)
            if status >= _FAILURES_BEGIN:
                self._by_failures.add(workspace_id, 1.0)
        # 1xx never answers a request; anything else that is no class is a failure of ours.
        series.answers[min(max(status // 100 - 2, 0), len(CLASSES) - 1)] += 1
        if seconds is not None:
            series.buckets[bisect_left(BOUNDS_S, seconds)] += 1
            series.seconds += seconds

    def collect(self) -> Iterator[Metric]:
        """Export the counters, and choose again whom they name."""
        if self._clock() >= self._change_at:
            self._change_at = self._clock() + CHANGE_EVERY_S
            self._choose()
        requests = CounterMetricFamily(
            "sigma_workspace_requests",
            "Answers, by class of status, to the workspaces with most load or failures",
            labels=("workspace", "status"),
        )
        durations = HistogramMetricFamily(
            "sigma_workspace_request_seconds", "Time to answer them", labels=("workspace",)
        )
        everybody = {OTHER: self._other, NONE: self._none} | self._leaving | self._named
        for workspace, series in everybody.items():
            for label, count in zip(CLASSES, series.answers, strict=True):
                requests.add_metric((workspace, label), count)
            below, cumulated = 0, []
            for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), series.buckets, strict=True):
                below += count
                cumulated.append((bound, float(below)))
            durations.add_metric((workspace,), cumulated, series.seconds)
        yield requests
        yield durations

    def describe(self) -> Iterator[Metric]:
        """Names only, so that registering does not collect."""
        return iter(())

    def _choose(self) -> None:
        before = self._named
        chosen = dict.fromkeys(self._by_time.heaviest(BY_TIME, before))
        chosen |= dict.fromkeys(self._by_failures.heaviest(BY_FAILURES, before))
        known = before | self._leaving
        self._named = {name: known.get(name) or _Series() for name in chosen}
        self._leaving = {name: series for name, series in before.items() if name not in chosen}
        self._by_time.fade()
        self._by_failures.fade()


WORKSPACES: Final = WorkspaceMeasures()
REGISTRY.register(WORKSPACES)

"""Of any number of workspaces the few are named that make the load, and no request is lost."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping

from prometheus_client.registry import CollectorRegistry

from shared.process.heavy_hitters import HeavyHitters
from shared.process.workspace_metrics import (
    CHANGE_EVERY_S,
    NAMED_MAX,
    NONE,
    OTHER,
    WorkspaceMeasures,
)

Reading = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Prometheus:
    """Reads again and again, and adds up what `increase` sees: nothing of a first value."""

    def __init__(self, measures: WorkspaceMeasures) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(measures)
        self._last: Reading = self.read()
        self.increases: Counter[str] = Counter()

    def read(self) -> Reading:
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self._registry.collect()
            for sample in family.samples
        }

    def scrape(self) -> set[str]:
        """The names that are there."""
        now = self.read()
        for (name, labels), value in now.items():
            before = self._last.get((name, labels), value)
            assert value >= before, f"{name} of {labels} has fallen"
            if name == "sigma_workspace_requests_total":
                self.increases[dict(labels)["workspace"]] += int(value - before)
        self._last = now
        return {dict(labels)["workspace"] for _, labels in now}


def test_ten_thousand_workspaces_have_few_labels_and_the_heavy_one_has_a_name():
    clock, draw = Clock(), random.Random(7)
    measures = WorkspaceMeasures(clock)
    prometheus = Prometheus(measures)
    asked = Counter[str]()
    series = 0
    for minute in range(6):
        for _ in range(4):
            for number in draw.choices(range(10_000), k=4_000):
                # One in twenty requests is of the heavy one, which takes no longer than others.
                name = "ws-heavy" if number % 20 == 0 else f"ws-{number}"
                asked[name] += 1
                measures.count(name, 200, 0.01)
            for _ in range(5):
                asked["ws-broken"] += 1
                measures.count("ws-broken", 503, 0.001)
            clock.now += CHANGE_EVERY_S / 4
            names = prometheus.scrape()
            assert len(names) <= 2 * NAMED_MAX + 2
            series = max(series, len(prometheus.read()))
        assert minute == 0 or {"ws-heavy", "ws-broken"} <= names
    assert series <= 11 * (2 * NAMED_MAX + 2)
    # Each request is in exactly one series, whatever names came and went.
    assert sum(prometheus.increases.values()) == asked.total()
    # From the first change on, all that the heavy one did has its name.
    assert prometheus.increases["ws-heavy"] > 0.8 * asked["ws-heavy"]
    assert prometheus.increases["ws-broken"] > 0.8 * asked["ws-broken"]


def test_a_name_that_goes_stays_until_all_have_seen_its_last_value():
    clock = Clock()
    measures = WorkspaceMeasures(clock)
    first, second = Prometheus(measures), Prometheus(measures)
    measures.count("ws-once", 200, 1.0)
    clock.now += CHANGE_EVERY_S
    assert "ws-once" in first.scrape() | second.scrape()
    measures.count("ws-once", 200, 1.0)
    for minute in range(30):
        for number in range(100):
            measures.count(f"ws-{number % 20}", 200, 10.0)
        clock.now += CHANGE_EVERY_S
        names = first.scrape()
        clock.now += 1
        assert names == second.scrape(), minute
    assert "ws-once" not in names
    assert (first.increases["ws-once"], second.increases["ws-once"]) == (1, 1)
    assert first.increases.total() == second.increases.total() == 3002


def test_who_is_idle_loses_the_name():
    clock = Clock()
    measures = WorkspaceMeasures(clock)
    prometheus = Prometheus(measures)
    measures.count("ws-gone", 500, 60.0)
    for _ in range(40):
        clock.now += CHANGE_EVERY_S
        names = prometheus.scrape()
    assert names == {OTHER, NONE}


def test_nobody_and_services_are_no_workspace_and_waiting_takes_no_time():
    clock = Clock()
    measures = WorkspaceMeasures(clock)
    prometheus = Prometheus(measures)
    for workspace in ("", "*"):
        measures.count(workspace, 401, 0.001)
    measures.count("ws-1", 200, None)
    clock.now += CHANGE_EVERY_S
    assert prometheus.scrape() == {OTHER, NONE}
    read = prometheus.read()
    assert read["sigma_workspace_requests_total", (("status", "4xx"), ("workspace", NONE))] == 2
    assert read["sigma_workspace_requests_total", (("status", "2xx"), ("workspace", OTHER))] == 1
    assert read["sigma_workspace_request_seconds_count", (("workspace", OTHER),)] == 0


def test_every_status_has_a_class():
    measures = WorkspaceMeasures(Clock())
    for status in (200, 204, 304, 404, 499, 500, 599, 600, 101):
        measures.count("ws-1", status, 0.1)
    read = Prometheus(measures).read()
    counted = {
        dict(labels)["status"]: value
        for (name, labels), value in read.items()
        if name == "sigma_workspace_requests_total" and dict(labels)["workspace"] == OTHER
    }
    assert counted == {"2xx": 3, "3xx": 1, "4xx": 2, "5xx": 3}


def test_a_key_with_more_than_its_share_is_never_missed_in_bounded_memory():
    draw = random.Random(3)
    found, true = HeavyHitters(kept=50), defaultdict[str, float](float)
    for number in range(20_000):
        key = draw.choice(["a", "b", "c"]) if draw.random() < 0.2 else f"k{number}"
        weight = draw.random()
        true[key] += weight
        found.add(key, weight)
        assert len(found) <= 101
    total = sum(true.values())
    assert set(found.heaviest(3)) == {"a", "b", "c"}
    for key in "abc":
        assert true[key] > total / 50
        assert true[key] - total / 50 <= found._sums[key] <= true[key]


def test_the_favoured_go_before_who_has_less_than_twice_as_much():
    found = HeavyHitters()
    for key, weight in (("new", 1.9), ("old", 1.0), ("newer", 2.1)):
        found.add(key, weight)
    assert found.heaviest(3, {"old"}) == ["newer", "old", "new"]
    assert found.heaviest(2) == ["newer", "new"]

"""What counts as growth in `make soak`."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.rolling.load import Sample
from tests.soak.gauges import Gauges
from tests.soak.verdict import Growth, growths


@pytest.mark.parametrize(
    ("what", "before", "after", "is_good"),
    [
        ("memory of gateway-7, MB", 100.0, 110.0, True),
        ("memory of gateway-7, MB", 100.0, 111.0, False),
        ("memory of gateway-7, MB", 10.0, 13.0, True),
        ("connections to the database of auth_service", 30.0, 34.0, False),
        ("connections to the database of auth_service", 1.0, 2.0, True),
        ("dead and free in the tables of auth_service, %", 20.0, 30.0, True),
        ("dead and free in the tables of auth_service, %", 20.0, 31.0, False),
        ("age of the oldest event in the outbox of auth_service, s", 0.1, 1.0, True),
        ("age of the oldest event in the outbox of auth_service, s", 0.1, 1.2, False),
        ("p99 of the requests, ms", 200.0, 221.0, False),
        ("p99 of the requests, ms", 200.0, 50.0, True),
    ],
)
def test_a_tenth_more_is_no_growth_nor_is_what_nobody_would_see(
    what: str, before: float, after: float, is_good: bool
):
    growth = Growth(what, before, after)
    assert growth.good is is_good
    assert ("GREW" in growth.line()) is not is_good


def test_the_settled_window_is_compared_with_the_last_one():
    gauges = Gauges({}, {})
    seen: Mapping[str, list[float]] = {"memory of x-1, MB": [90.0, 100.0, 300.0]}
    gauges.seen["window 2"].update(seen)
    gauges.seen["window 3"]["memory of x-1, MB"] = [120.0]
    samples = [
        Sample(window, "read", True, seconds, "")
        for window, seconds in (("window 1", 9.0), ("window 2", 0.1), ("window 3", 0.2))
    ]
    found = growths(gauges, samples, "window 2", "window 3")
    assert found == [
        Growth("memory of x-1, MB", 100.0, 120.0),
        Growth("p99 of the requests, ms", 100.0, 200.0),
    ]
    assert not any(growth.good for growth in found)

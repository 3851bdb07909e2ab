"""What may wait and be sent at a time for webhooks, and that everybody has a little of it."""

from __future__ import annotations

import asyncio

import pytest

from workflow_service.dispatch import bounds
from workflow_service.dispatch.bounds import Places, Waits

MIB = 1 << 20


def taken(places: Places, workspace: str, size: int, *, first: bool = False) -> bool:
    return places.take(workspace, size, asyncio.Event(), is_first=first)


def test_a_workspace_has_so_many_requests_at_a_time_and_each_webhook_has_one():
    places = Places()
    while taken(places, "ws-1", 10):
        pass
    assert taken(places, "ws-1", 10, first=True)
    assert taken(places, "ws-2", 10)
    for _ in range(2):
        places.give_back("ws-1", 10)
    assert taken(places, "ws-1", 10) and not taken(places, "ws-1", 10)


def test_the_bytes_under_way_are_bounded_but_for_one_small_body_of_each_webhook():
    places = Places()
    assert [taken(places, "ws-1", 15 * MIB) for _ in range(3)] == [True, True, False]
    assert not taken(places, "ws-1", 15 * MIB, first=True)
    assert taken(places, "ws-1", bounds.SMALL, first=True)
    # Whatever alone is more than a workspace may have is sent by itself.
    assert taken(places, "ws-2", 40 * MIB)
    assert not taken(places, "ws-2", MIB)
    places.give_back("ws-2", 40 * MIB)
    assert taken(places, "ws-2", MIB)


def test_the_bytes_under_way_of_all_are_bounded():
    places = Places()
    found = [taken(places, f"ws-{number}", 15 * MIB) for number in range(20)]
    assert found == [True] * 17 + [False] * 3
    assert taken(places, "ws-30", bounds.SMALL, first=True)


def test_who_waits_for_a_place_is_woken_when_one_is_free():
    places, wake = Places(), asyncio.Event()
    assert taken(places, "ws-1", 31 * MIB)
    assert not places.take("ws-1", 2 * MIB, wake, is_first=True)
    assert not wake.is_set()
    places.give_back("ws-1", 31 * MIB)
    assert wake.is_set()
    assert places.take("ws-1", 2 * MIB, wake, is_first=True)


ONE, TWO = ("ws-1", "wh-1"), ("ws-1", "wh-2")


def test_a_page_is_taken_until_a_webhook_has_enough_waiting():
    waits = Waits()
    assert (waits.takeable(ONE), waits.loadable(ONE)) == (bounds.PAGE, bounds.PENDING_MAX)
    waits.note(ONE, bounds.PENDING_MAX - bounds.PAGE, 1_000)
    assert waits.takeable(ONE) == bounds.PAGE
    waits.note(ONE, bounds.PENDING_MAX, 1_000)
    assert (waits.takeable(ONE), waits.takeable(TWO)) == (0, bounds.PAGE)
    waits.note(ONE, 1, bounds.PENDING_BYTES_MAX)
    assert (waits.takeable(ONE), waits.takeable(TWO)) == (0, bounds.PAGE)
    waits.note(ONE, 0, 0)
    assert waits.takeable(ONE) == bounds.PAGE


@pytest.mark.parametrize(("count", "size"), [(10_000, 1), (10, 30 * MIB)])
def test_a_webhook_has_a_few_waiting_where_its_workspace_has_too_many(count: int, size: int):
    waits = Waits()
    for number in range(10):
        waits.note(("ws-1", f"wh-full-{number}"), count, size)
    assert waits.takeable(ONE) == bounds.FEW
    waits.note(ONE, bounds.FEW, 1)
    assert waits.takeable(ONE) == 0
    assert waits.takeable(("ws-2", "wh-1")) == bounds.PAGE
    for number in range(10):
        waits.note(("ws-1", f"wh-full-{number}"), 0, 0)
    assert waits.takeable(ONE) == bounds.PAGE


def test_what_waits_in_a_process_is_bounded():
    waits = Waits()
    for number in range(30):
        waits.note((f"ws-{number}", "wh-1"), 10_000, 1)
    assert waits.takeable(("ws-99", "wh-1")) == waits.loadable(("ws-99", "wh-1")) == bounds.FEW
    # What is there already may stay.
    assert waits.loadable(ONE) == bounds.PENDING_MAX

"""A lease costs nothing while nobody else can have it, and is asked for after that."""

from __future__ import annotations

import time

import pytest

from workflow_service.holds import Hold

HOUR_S = 3_600.0


class Taken(Exception):
    """Another process has it."""


class Claims:
    """The claim as the database knows it."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_taken = False

    async def renew(self) -> None:
        self.asked += 1
        if self.is_taken:
            raise Taken


async def test_what_is_held_is_not_asked_for():
    claims = Claims()
    hold = Hold(HOUR_S, claims.renew, since_s=time.monotonic())
    claims.is_taken = True
    await hold.check()
    assert claims.asked == 0
    assert HOUR_S - 60 < hold.left_s <= HOUR_S


async def test_who_wakes_behind_the_end_learns_that_another_has_it():
    claims = Claims()
    hold = Hold(HOUR_S, claims.renew, since_s=time.monotonic() - HOUR_S)
    claims.is_taken = True
    for _ in range(2):
        with pytest.raises(Taken):
            await hold.check()
    assert claims.asked == 2
    assert hold.left_s <= 0


async def test_who_wakes_before_anybody_has_noticed_goes_on():
    claims = Claims()
    hold = Hold(HOUR_S, claims.renew, since_s=time.monotonic() - 2 * HOUR_S)
    await hold.check()
    await hold.check()
    assert claims.asked == 1


async def test_a_renewal_counts_from_before_it_was_asked_for(monkeypatch: pytest.MonkeyPatch):
    """The process may be stopped while the answer is on its way."""
    clock = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)

    async def renew() -> None:
        nonlocal clock
        clock += HOUR_S

    hold = Hold(HOUR_S, renew, since_s=0.0)
    await hold.renew()
    assert hold.left_s == 0

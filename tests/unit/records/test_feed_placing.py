"""Which rows of the outbox are looked at: against a database that commits in any order."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from records_service.feed.placing import Window

AT_ONCE = 5


@dataclass
class Transaction:
    number: int
    rows: list[int] = field(default_factory=list)


class Outbox:
    """Ids are drawn in order, and rows are seen when their transaction has ended."""

    def __init__(self) -> None:
        self.last = 0
        self.next_number = 1
        self.running: list[Transaction] = []
        self.rows: set[int] = set()
        self.placed: list[int] = []

    def begin(self) -> Transaction:
        made = Transaction(self.next_number)
        self.next_number += 1
        self.running.append(made)
        return made

    def draw(self, transaction: Transaction, count: int = 1) -> None:
        for _ in range(count):
            self.last += 1
            transaction.rows.append(self.last)

    def end(self, transaction: Transaction, *, commits: bool = True) -> None:
        self.running.remove(transaction)
        if commits:
            self.rows |= set(transaction.rows)

    def publish(self, rows: Iterable[int]) -> None:
        """What the relay does with rows that are placed."""
        self.rows -= set(rows) & set(self.placed)

    def place(self, window: Window) -> int:
        """What `store.place` does; returns how many rows were looked at."""
        there = sorted(self.rows)
        unplaced = [row for row in there if row not in self.placed]
        swept = [row for row in unplaced if row <= window.swept_until][:AT_ONCE]
        later = [row for row in there if row > window.after][:AT_ONCE]
        found = {*swept, *(row for row in there if row in window.gaps)}
        if len(swept) < AT_ONCE:
            found |= set(later)
        self.placed += [row for row in sorted(found) if row not in self.placed]
        window.note(
            sorted(found),
            oldest_running=min((one.number for one in self.running), default=self.next_number),
            next_number=self.next_number,
            is_swept=len(swept) < AT_ONCE,
        )
        return len(found)


def settle(outbox: Outbox, window: Window) -> None:
    for _ in range(1_000):
        was_waiting = window.is_waiting
        if outbox.place(window) < AT_ONCE and not was_waiting:
            return
    raise AssertionError("no end")


@pytest.mark.parametrize("seed", range(150))
def test_each_row_is_placed_once_and_as_soon_as_it_is_there(seed: int) -> None:
    dice = random.Random(seed)
    outbox = Outbox()
    for transaction in [outbox.begin() for _ in range(dice.randrange(4))]:
        outbox.draw(transaction, dice.randrange(1, 12))
        if dice.random() < 0.7:
            outbox.end(transaction)
    window = Window(outbox.last, gaps_max=dice.choice([0, 3, 1_000]))
    for _ in range(200):
        step = dice.random()
        if step < 0.3 and len(outbox.running) < 6:
            outbox.begin()
        elif step < 0.5 and outbox.running:
            outbox.draw(dice.choice(outbox.running), dice.randrange(1, 4))
        elif step < 0.8 and outbox.running:
            outbox.end(dice.choice(outbox.running), commits=dice.random() < 0.8)
        elif step < 0.9:
            outbox.publish(outbox.placed)
        else:
            settle(outbox, window)
            # Whatever runs at that moment, nothing that is there waits for it.
            assert outbox.rows <= set(outbox.placed)
    for transaction in list(outbox.running):
        outbox.end(transaction)
    settle(outbox, window)
    assert outbox.rows <= set(outbox.placed)
    assert len(outbox.placed) == len(set(outbox.placed))


@pytest.mark.parametrize("seed", range(150))
def test_rows_of_one_object_are_placed_in_their_order(seed: int) -> None:
    """Whoever changes an object has its lock: the one before has ended, and has the lower id."""
    dice = random.Random(seed)
    outbox = Outbox()
    of_object: dict[int, int] = {}
    held: dict[int, Transaction] = {}
    window = Window(outbox.last, gaps_max=dice.choice([0, 2, 1_000]))
    for _ in range(300):
        step = dice.random()
        if step < 0.5 and len(outbox.running) < 6:
            subject = dice.randrange(4)
            transaction = outbox.begin()
            if held.get(subject) in outbox.running:
                continue
            held[subject] = transaction
            outbox.draw(transaction)
            of_object[outbox.last] = subject
        elif step < 0.75 and outbox.running:
            outbox.end(dice.choice(outbox.running), commits=dice.random() < 0.8)
        else:
            outbox.place(window)
    for transaction in list(outbox.running):
        outbox.end(transaction)
    settle(outbox, window)
    for subject in range(4):
        placed = [row for row in outbox.placed if of_object.get(row) == subject]
        assert placed == sorted(placed)


def test_gaps_are_forgotten_when_everybody_of_then_has_ended() -> None:
    outbox = Outbox()
    window = Window(0)
    settle(outbox, window)
    long, failed, other = outbox.begin(), outbox.begin(), outbox.begin()
    outbox.draw(failed, 3)
    outbox.draw(other)
    outbox.end(failed, commits=False)
    outbox.end(other)
    settle(outbox, window)
    assert outbox.placed == [4]
    assert window.gaps == [1, 2, 3]
    outbox.end(long)
    settle(outbox, window)
    assert window.gaps == []


def test_a_sweep_finds_what_no_gap_leads_to() -> None:
    outbox = Outbox()
    outbox.last = 100
    window = Window(outbox.last)
    other = outbox.begin()
    outbox.draw(other, 10)
    outbox.end(other)
    settle(outbox, window)
    # An id from another range, as another node would draw it.
    outbox.rows.add(5)
    settle(outbox, window)
    assert 5 not in outbox.placed
    window.sweep()
    settle(outbox, window)
    assert 5 in outbox.placed
    assert window.swept_until == 0

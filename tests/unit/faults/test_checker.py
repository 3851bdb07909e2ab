"""The checker of the fault experiments finds each thing that can be wrong, and nothing else."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest

from tests.faults.checker import Kind, judge
from tests.faults.history import (
    Change,
    Copy,
    Effects,
    History,
    Listener,
    Outcome,
    Recovery,
    Write,
    tokens_of,
)

FIRST = Change("ent-1", 1, ("tok-1",), "evt-1")
SECOND = Change("ent-1", 2, ("tok-2",), "evt-2")
OTHER = Change("ent-2", 1, ("tok-3",), "evt-3")
ALL = (FIRST, SECOND, OTHER)
COPIED = (("ent-2", "tok-3"), ("ent-1", "tok-2"))


def acknowledged(change: Change) -> Write:
    return Write(change.tokens[0], Outcome.ACKNOWLEDGED, change.record, change.version)


def history() -> History:
    """Three writes, of which all became of that should."""
    return History(
        writes=[acknowledged(change) for change in ALL],
        changes=[replace(change, id="") for change in ALL],
        records={"ent-1": (2, "tok-2"), "ent-2": (1, "tok-3")},
        listeners={"bus": Listener(ALL), "feed": Listener(ALL, exactly_once=True)},
        effects={
            "consumer": Effects(
                {"ent-1": 2, "ent-2": 1}, {"ent-1": 2, "ent-2": 1}, counted=3, events=3
            )
        },
        copies={
            "file": Copy({"ent-1": "tok-2", "ent-2": "tok-3"}, COPIED),
        },
        set_aside={"queue": (2, 2)},
        recoveries=[Recovery("broker", 3.0, 5.0)],
    )


def kinds(found: History) -> set[Kind]:
    return {violation.kind for violation in judge(found)}


def test_where_everything_is_as_promised_nothing_is_wrong():
    assert judge(history()) == []


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN])
@pytest.mark.parametrize("stored", [True, False])
def test_what_nobody_was_told_may_be_stored_or_not(outcome: Outcome, stored: bool):
    found = history()
    token = "tok-1" if stored else "tok-never"
    found.writes[0] = Write(token, outcome)
    assert judge(found) == []


def test_a_refused_write_that_is_not_stored_is_what_was_promised():
    found = history()
    found.writes.append(Write("tok-never", Outcome.REFUSED))
    assert judge(found) == []


def test_the_bus_may_deliver_an_event_again_with_the_same_id():
    found = history()
    found.listeners["bus"] = Listener((FIRST, SECOND, FIRST, OTHER))
    assert judge(found) == []


def test_a_write_whose_record_and_version_were_not_told_is_found_by_its_token():
    found = history()
    found.writes = [Write("tok-2", Outcome.ACKNOWLEDGED)]
    assert judge(found) == []


def lost(found: History) -> None:
    found.writes.append(Write("tok-4", Outcome.ACKNOWLEDGED, "ent-1", 3))


def stored_as_another_version(found: History) -> None:
    found.writes[1] = Write("tok-2", Outcome.ACKNOWLEDGED, "ent-1", 5)


def stored_in_another_record(found: History) -> None:
    found.writes[1] = Write("tok-2", Outcome.ACKNOWLEDGED, "ent-2", 2)


def shown_as_it_was_before(found: History) -> None:
    found.records["ent-1"] = (1, "tok-1")


def shown_with_another_value(found: History) -> None:
    found.records["ent-1"] = (2, "tok-1")


def not_shown(found: History) -> None:
    del found.records["ent-2"]


def without_history(found: History) -> None:
    found.records["ent-3"] = (1, "tok-9")


def refused_and_stored(found: History) -> None:
    found.writes[0] = Write("tok-1", Outcome.REFUSED)


def not_heard(found: History) -> None:
    found.listeners["bus"] = Listener((FIRST, OTHER))


def not_in_the_feed(found: History) -> None:
    found.listeners["feed"] = Listener((FIRST, SECOND), exactly_once=True)


def heard_of_nothing(found: History) -> None:
    more = Change("ent-1", 3, ("tok-8",), "evt-9")
    found.listeners["bus"] = Listener((*ALL, more))


def heard_with_another_value(found: History) -> None:
    found.listeners["bus"] = Listener((FIRST, replace(SECOND, tokens=("tok-8",)), OTHER))


def written_twice(found: History) -> None:
    found.changes.append(Change("ent-2", 2, ("tok-3",)))
    found.records["ent-2"] = (2, "tok-3")
    again = Change("ent-2", 2, ("tok-3",), "evt-4")
    found.listeners = {"bus": Listener((*ALL, again))}


def created_twice(found: History) -> None:
    found.changes.append(Change("ent-3", 1, ("tok-3",)))
    found.records["ent-3"] = (1, "tok-3")
    found.listeners = {"bus": Listener((*ALL, Change("ent-3", 1, ("tok-3",), "evt-4")))}


def told_twice_with_two_ids(found: History) -> None:
    found.listeners["bus"] = Listener((*ALL, replace(OTHER, id="evt-4")))


def told_twice_by_the_feed(found: History) -> None:
    found.listeners["feed"] = Listener((*ALL, OTHER), exactly_once=True)


def counted_twice(found: History) -> None:
    found.effects["consumer"] = replace(found.effects["consumer"], counted=4)


def not_counted(found: History) -> None:
    found.effects["consumer"] = replace(found.effects["consumer"], counted=2)


def effect_behind(found: History) -> None:
    found.effects["consumer"] = replace(found.effects["consumer"], found={"ent-1": 1, "ent-2": 1})


def effect_missing(found: History) -> None:
    found.effects["consumer"] = replace(found.effects["consumer"], found={"ent-1": 2})


def heard_in_the_wrong_order(found: History) -> None:
    found.listeners["bus"] = Listener((SECOND, FIRST, OTHER))


def in_the_feed_in_the_wrong_order(found: History) -> None:
    found.listeners["feed"] = Listener((SECOND, OTHER, FIRST), exactly_once=True)


def acknowledged_in_the_wrong_order(found: History) -> None:
    found.writes.reverse()


def copied(*found: tuple[str, str]) -> Copy:
    return Copy({"ent-1": "tok-2", "ent-2": "tok-3"}, found)


def not_copied(found: History) -> None:
    found.copies["file"] = copied(COPIED[0])


def copied_as_it_was_before(found: History) -> None:
    found.copies["file"] = copied(COPIED[0], ("ent-1", "tok-1"))


def copied_from_nowhere(found: History) -> None:
    found.copies["file"] = copied(*COPIED, ("ent-9", "tok-9"))


def copied_twice(found: History) -> None:
    found.copies["file"] = copied(*COPIED, COPIED[0])


def half_a_file(found: History) -> None:
    found.half_files.append("names.jsonl was seen with 7 of 9 lines")


def poison_lost(found: History) -> None:
    found.set_aside["queue"] = (2, 1)


def good_messages_set_aside(found: History) -> None:
    found.set_aside["queue"] = (2, 3)


def answered_otherwise(found: History) -> None:
    found.answers.append("GET /: 500 Internal Server Error")


def not_finished(found: History) -> None:
    found.unfinished.append("the import")


def too_late(found: History) -> None:
    found.recoveries.append(Recovery("PostgreSQL", 10.1, 10.0))


VIOLATIONS = [
    (lost, Kind.LOST_WRITE),
    (stored_as_another_version, Kind.LOST_WRITE),
    (stored_in_another_record, Kind.LOST_WRITE),
    (shown_as_it_was_before, Kind.LOST_WRITE),
    (shown_with_another_value, Kind.LOST_WRITE),
    (not_shown, Kind.LOST_WRITE),
    (without_history, Kind.LOST_WRITE),
    (refused_and_stored, Kind.FALSE_REFUSAL),
    (not_heard, Kind.LOST_EVENT),
    (not_in_the_feed, Kind.LOST_EVENT),
    (not_counted, Kind.LOST_EVENT),
    (effect_behind, Kind.LOST_EVENT),
    (effect_missing, Kind.LOST_EVENT),
    (heard_of_nothing, Kind.FALSE_EVENT),
    (heard_with_another_value, Kind.FALSE_EVENT),
    (written_twice, Kind.DOUBLED),
    (created_twice, Kind.DOUBLED),
    (told_twice_with_two_ids, Kind.DOUBLED),
    (told_twice_by_the_feed, Kind.DOUBLED),
    (counted_twice, Kind.DOUBLED),
    (heard_in_the_wrong_order, Kind.INVERSION),
    (in_the_feed_in_the_wrong_order, Kind.INVERSION),
    (acknowledged_in_the_wrong_order, Kind.INVERSION),
    (not_copied, Kind.NOT_COPIED),
    (copied_as_it_was_before, Kind.NOT_COPIED),
    (copied_from_nowhere, Kind.NOT_COPIED),
    (copied_twice, Kind.DOUBLED),
    (half_a_file, Kind.HALF_FILE),
    (poison_lost, Kind.SET_ASIDE),
    (good_messages_set_aside, Kind.SET_ASIDE),
    (answered_otherwise, Kind.ANSWER),
    (not_finished, Kind.UNFINISHED),
    (too_late, Kind.LATE),
]


@pytest.mark.parametrize(
    ("break_it", "kind"), VIOLATIONS, ids=lambda one: getattr(one, "__name__", one)
)
def test_each_violation_is_found_and_called_by_its_name(break_it, kind: Kind):
    found = deepcopy(history())
    break_it(found)
    assert kinds(found) == {kind}


def test_every_kind_of_violation_is_tried():
    assert {kind for _, kind in VIOLATIONS} == set(Kind)


def test_only_new_values_are_tokens_and_only_those_of_the_writers():
    changes = [
        {"oldValue": "tok-1", "newValue": "tok-2"},
        {"oldValue": None, "newValue": "blue"},
        {"oldValue": None, "newValue": 7},
    ]
    assert tokens_of(changes) == ("tok-2",)

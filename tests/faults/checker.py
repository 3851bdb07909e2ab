"""Says what is wrong with a history. Pure: it asks nobody and waits for nothing.

What was acknowledged has to be stored, once, and in the order of the answers; what was refused must
not be. What is stored, acknowledged or not, has to be heard by every listener, in the order of the
versions of each record, and to have its effect once. Nothing else may be heard.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from tests.faults.history import Copy, Effects, History, Listener, Outcome


class Kind(StrEnum):
    """What can be wrong; the words are those of the report."""

    LOST_WRITE = "acknowledged writes lost"
    FALSE_REFUSAL = "refused writes stored"
    LOST_EVENT = "events lost"
    FALSE_EVENT = "events of nothing"
    DOUBLED = "effects doubled"
    INVERSION = "order inversions per record"
    NOT_COPIED = "records lost on their way out"
    HALF_FILE = "half files visible"
    SET_ASIDE = "dead letters lost or added"
    ANSWER = "answers outside the envelope"
    UNFINISHED = "accepted work not finished"
    LATE = "recoveries too late"


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong."""

    kind: Kind
    what: str


def judge(history: History) -> list[Violation]:
    """Everything that is wrong, in the order of the kinds."""
    found = [
        *_writes(history),
        *_records(history),
        *(one for name, each in history.listeners.items() for one in _heard(history, name, each)),
        *(one for name, each in history.effects.items() for one in _effects(name, each)),
        *(one for name, each in history.copies.items() for one in _copied(name, each)),
        *(Violation(Kind.HALF_FILE, what) for what in history.half_files),
    ]
    for queue, (expected, there) in history.set_aside.items():
        if there != expected:
            what = f"{queue}: {expected} messages cannot be handled, {there} are dead letters"
            found.append(Violation(Kind.SET_ASIDE, what))
    found += [Violation(Kind.ANSWER, what) for what in history.answers]
    found += [Violation(Kind.UNFINISHED, what) for what in history.unfinished]
    found += [
        Violation(Kind.LATE, f"{one.what}: {one.seconds:.1f} s, at most {one.seconds_max:g} s")
        for one in history.recoveries
        if one.seconds > one.seconds_max
    ]
    order = list(Kind)
    return sorted(found, key=lambda violation: order.index(violation.kind))


def _writes(history: History) -> Iterator[Violation]:
    """What clients were told, beside what is stored."""
    places = defaultdict(list)
    for change in history.changes:
        for token in change.tokens:
            places[token].append((change.record, change.version))
    for token, stored in places.items():
        if len(stored) > 1:
            yield Violation(Kind.DOUBLED, f"{token} was written {len(stored)} times: {stored}")
    latest: dict[str, int] = {}
    for write in history.writes:
        stored = places.get(write.token, [])
        if write.outcome is Outcome.REFUSED and stored:
            yield Violation(Kind.FALSE_REFUSAL, f"{write.token} was refused, and is in {stored}")
        if write.outcome is not Outcome.ACKNOWLEDGED:
            continue
        told = (write.record, write.version)
        matching = [
            (record, version)
            for record, version in stored
            if write.record in ("", record) and write.version in (0, version)
        ]
        if not matching:
            what = f"{write.token} was acknowledged as {told}, found {stored or 'nowhere'}"
            yield Violation(Kind.LOST_WRITE, what)
            continue
        record, version = matching[0]
        if version < latest.get(record, 0):
            what = f"{write.token} was acknowledged last, as version {version} of {record}"
            yield Violation(Kind.INVERSION, what)
        latest[record] = max(version, latest.get(record, 0))


def _records(history: History) -> Iterator[Violation]:
    """What the API shows, beside the last entry of the history."""
    last = {change.record: change for change in history.changes}
    for record, change in last.items():
        shown = history.records.get(record)
        if shown is None:
            yield Violation(Kind.LOST_WRITE, f"{record} has a history and is not shown")
        elif shown[0] != change.version or (change.tokens and shown[1] not in change.tokens):
            what = f"{record} is shown as {shown}, its history ends with {change}"
            yield Violation(Kind.LOST_WRITE, what)
    for record in history.records.keys() - last.keys():
        yield Violation(Kind.LOST_WRITE, f"{record} is shown and has no history")


def _heard(history: History, name: str, listener: Listener) -> Iterator[Violation]:
    """What a listener heard, beside what is stored."""
    stored = {(change.record, change.version): change.tokens for change in history.changes}
    ids: dict[tuple[str, int], set[str]] = defaultdict(set)
    last: dict[str, int] = {}
    for change, count in Counter(listener.heard).items():
        key = (change.record, change.version)
        if stored.get(key) != change.tokens:
            yield Violation(Kind.FALSE_EVENT, f"{name}: {change}, stored is {stored.get(key)}")
        if listener.exactly_once and count > 1:
            yield Violation(Kind.DOUBLED, f"{name}: {key} came {count} times")
        ids[key].add(change.id)
        # A counter keeps the order in which its keys first came.
        if change.version < last.get(change.record, 0):
            yield Violation(Kind.INVERSION, f"{name}: {key} after version {last[change.record]}")
        last[change.record] = max(change.version, last.get(change.record, 0))
    for key in stored.keys() - ids.keys():
        yield Violation(Kind.LOST_EVENT, f"{name}: {key} was never heard of")
    for key, events in ids.items():
        if len(events) > 1:
            yield Violation(Kind.DOUBLED, f"{name}: {key} has {len(events)} events")


def _effects(name: str, effects: Effects) -> Iterator[Violation]:
    """What was built on events, beside what they say."""
    for thing, version in effects.expected.items():
        if effects.found.get(thing, 0) < version:
            what = f"{name}: {thing} is at version {effects.found.get(thing)}, not {version}"
            yield Violation(Kind.LOST_EVENT, what)
    if effects.counted is None:
        return
    what = f"{name}: counted {effects.counted} of {effects.events} events"
    if effects.counted < effects.events:
        yield Violation(Kind.LOST_EVENT, what)
    elif effects.counted > effects.events:
        yield Violation(Kind.DOUBLED, what)


def _copied(name: str, copy: Copy) -> Iterator[Violation]:
    """What is at a place outside, beside what has to be there."""
    counts = Counter(record for record, _ in copy.found)
    for record, count in counts.items():
        if count > 1:
            yield Violation(Kind.DOUBLED, f"{name}: {record} is there {count} times")
    there = dict(copy.found)
    for record in copy.expected.keys() | there.keys():
        expected, found = copy.expected.get(record), there.get(record)
        if expected != found:
            what = f"{name}: {record} has {found or 'nothing'}, not {expected or 'nothing'}"
            yield Violation(Kind.NOT_COPIED, what)

"""What one experiment saw: what clients were told, and what was found afterwards. Only data.

Every write has a *token*, a value that nothing else writes, so that it can be recognised wherever
it turns up: in the history of a record, in the feed, on the bus, in whatever is built on events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

TOKEN = "tok-"
"""What every token begins with."""


class Outcome(StrEnum):
    """What the client knows of its write in the end."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    """Answered with 503, which promises that nothing happened, and not sent again."""
    UNKNOWN = "unknown"
    """Answered with 504, or not at all, and not sent again."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write. `record` and `version` are empty where the answer did not say them."""

    token: str
    outcome: Outcome
    record: str = ""
    version: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """One version of a record, and the tokens that became its values: in the stored history.

    Of an event that a listener heard, `id` is the event's.
    """

    record: str
    version: int
    tokens: tuple[str, ...]
    id: str = ""


@dataclass(frozen=True, slots=True)
class Listener:
    """Somebody who hears of changes, and what it heard in the order of arrival."""

    heard: Sequence[Change]
    exactly_once: bool = False
    """Whether each event may come only once, as in the feed. The bus may repeat one."""


@dataclass(frozen=True, slots=True)
class Effects:
    """What was built on events: the last version of each thing, and how many events counted."""

    expected: Mapping[str, int]
    found: Mapping[str, int]
    counted: int | None = None
    """None if nothing is counted."""
    events: int = 0
    """How many there are to be counted."""


@dataclass(frozen=True, slots=True)
class Copy:
    """What is at a place outside: the records in a file, or the objects at the target of a channel.

    `found` has a record and its token for each thing that is there.
    """

    expected: Mapping[str, str]
    """Record -> its token."""
    found: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Recovery:
    """How long after the end of a fault something was as before, in seconds."""

    what: str
    seconds: float
    seconds_max: float


@dataclass(slots=True)
class History:
    """All of it. The order of `writes` is that in which they were answered."""

    writes: list[Write] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    """The stored history of all records, each in the order of its versions."""
    records: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Id -> version and value, as the API shows them now."""
    listeners: dict[str, Listener] = field(default_factory=dict)
    effects: dict[str, Effects] = field(default_factory=dict)
    copies: dict[str, Copy] = field(default_factory=dict)
    half_files: list[str] = field(default_factory=list)
    """Files that somebody could see before they were whole."""
    set_aside: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Queue -> how many messages cannot be handled, and how many are in its dead letters."""
    answers: list[str] = field(default_factory=list)
    """Answers that no client of the contract expects."""
    unfinished: list[str] = field(default_factory=list)
    """Work that was accepted and has not come to its end."""
    recoveries: list[Recovery] = field(default_factory=list)


def tokens_of(changes: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The tokens among the new values of an event, or of an entry of the history."""
    values = (change["newValue"] for change in changes)
    return tuple(one for one in values if isinstance(one, str) and one.startswith(TOKEN))

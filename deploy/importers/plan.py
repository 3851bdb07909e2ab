"""The plan of an import: what a workspace should contain, independent of HTTP.

Bodies of model objects are the JSON of the API. Records come one by one from a function that may be
called again, so that a catalogue is never held in memory as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Body = Mapping[str, Any]


class Kind(StrEnum):
    """What is moved, in the order in which it must come to exist."""

    DIMENSIONS = "dimensions"
    OPTION_LISTS = "option lists"
    ATTRIBUTES = "attributes"
    WORKFLOWS = "workflows"
    SCHEMAS = "schemas"
    RECORDS = "records"
    RELATIONS = "relations"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that was not moved as it is, where it stands in the source, and why."""

    kind: Kind
    source: str
    """The code or key of the object in the system that is left."""
    message: str
    file: str = ""
    line: int | None = None
    columns: tuple[str, ...] = ()
    attribute: str = ""
    value: str = ""
    code: str = ""
    """The API's error code, where the API refused it."""

    def __str__(self) -> str:
        place = self.file + (f" line {self.line}" if self.line is not None else "")
        said = [f"{self.kind} '{self.source}'"]
        if place:
            said.append(f"({place})")
        if self.columns:
            said.append(f"column {', '.join(self.columns)}:")
        elif self.attribute:
            said.append(f"attribute {self.attribute}:")
        if self.value and self.value not in self.message:
            said.append(f"'{self.value}'")
        said.append(self.message if not self.code else f"{self.code} {self.message}")
        return " ".join(said)


@dataclass(frozen=True, slots=True)
class ModelObject:
    """A dimension, option list, attribute, workflow or schema: the body to send for it."""

    kind: Kind
    source: str
    body: Body

    @property
    def id(self) -> str:
        """Derived from the source, so that a second run finds what the first one made."""
        return str(self.body["id"])


@dataclass(frozen=True, slots=True)
class Entry:
    """One value in one scope, and the columns it was read from."""

    scope: Mapping[str, str]
    value: Any
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Link:
    """A relation to other records by id, with what the source calls each of them."""

    targets: Mapping[str, str]
    column: str


@dataclass(frozen=True, slots=True)
class RecordPlan:
    """One product as a record: what to send, what to leave, and what cannot be sent at all.

    Every filled cell of its row is in exactly one of `values`, `links`, `told_by_schema`, `left`
    and `problems`.
    """

    id: str
    source: str
    line: int
    schema_id: str
    values: Mapping[str, tuple[Entry, ...]]
    """By alias."""
    links: Mapping[str, Link] = field(default_factory=dict)
    told_by_schema: int = 0
    """Cells that say which schema the record has."""
    left: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """What waits for a later version: name -> (cells, things in them)."""
    problems: tuple[Problem, ...] = ()

    @property
    def cells(self) -> int:
        """The filled cells that reach Sigma when the record and all its values are taken."""
        values = sum(len(entry.columns) for entries in self.values.values() for entry in entries)
        return values + len(self.links) + self.told_by_schema


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that cannot become a record, with the number of its filled cells."""

    problem: Problem
    cells: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole catalogue."""

    name: str
    model: tuple[ModelObject, ...]
    """In the order in which it must be created."""
    records: Callable[[], Iterable[RecordPlan | RefusedRow]]
    """Each call starts from the first record."""
    record_count: int
    filled_cells: int
    left: Counter[str] = field(default_factory=Counter)
    """What this version has no place for, told once: what it is -> how many."""
    notes: tuple[str, ...] = ()
    """What whoever moves should know besides."""
    problems: tuple[Problem, ...] = ()
    """What of the model was refused before anything was sent."""
    records_file: str = "products.csv"

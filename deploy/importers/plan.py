"""The plan of an import: what a workspace should contain, independent of HTTP.

Bodies of model objects are the JSON of the API. Records come one by one from a function that may be
called again, so that a catalogue is never held in memory as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deploy.importers.report import Report

Body = Mapping[str, Any]


class Kind(StrEnum):
    """What is moved, in the order in which it must come to exist."""

    DIMENSIONS = "dimensions"
    OPTION_LISTS = "option lists"
    ATTRIBUTES = "attributes"
    WORKFLOWS = "workflows"
    SCHEMAS = "schemas"
    CATALOGS = "catalogs"
    CATEGORIES = "categories"
    RECORDS = "records"
    VARIANTS = "variants"
    RELATIONS = "relations"
    ASSIGNMENTS = "assignments"


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
    """A dimension, option list, attribute, schema or the like: the body to send for it.

    A category names its `catalogId`, and comes after the category above it.
    """

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
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parent:
    """Where a variant stands: below a record, or below another variant of it."""

    record_id: str
    variant_id: str | None = None
    level: int = 1
    """1 directly below the record."""

    @property
    def id(self) -> str:
        """The id of what is directly above."""
        return self.variant_id or self.record_id


@dataclass(frozen=True, slots=True)
class RecordPlan:
    """One product as a record or variant: what to send, to leave, and what cannot be sent at all.

    Every filled cell of its row is in exactly one of `values`, `links`, `categories`,
    `told_otherwise`, `left` and `problems`. No record has the id of a variant.
    """

    id: str
    source: str
    line: int
    schema_id: str
    values: Mapping[str, tuple[Entry, ...]]
    """By alias."""
    links: Mapping[str, Link] = field(default_factory=dict)
    told_otherwise: int = 0
    """Cells without a value of their own: they tell the schema or the parent, or are inherited."""
    left: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """What waits for a later version: name -> (cells, things in them)."""
    problems: tuple[Problem, ...] = ()
    external_key: str | None = None
    parent: Parent | None = None
    """Of a variant."""
    categories: tuple[str, ...] = ()
    """Ids; those of a variant are given to its record."""
    category_columns: tuple[str, ...] = ()
    file: str = ""
    """The file of the row, where it is not the plan's `records_file`."""

    @property
    def cells(self) -> int:
        """The filled cells that reach Sigma when the record and all its values are taken."""
        values = sum(len(entry.columns) for entries in self.values.values() for entry in entries)
        return values + self.cells_sent_later + self.told_otherwise

    @property
    def cells_sent_later(self) -> int:
        """Those of relations and assignments, which need all records."""
        links = sum(len(link.columns) for link in self.links.values())
        return links + len(self.category_columns)

    @property
    def kind(self) -> Kind:
        """What it becomes."""
        return Kind.RECORDS if self.parent is None else Kind.VARIANTS

    @property
    def record_id(self) -> str:
        """The id of the record that it is, or that it is a variant of."""
        return self.id if self.parent is None else self.parent.record_id

    @property
    def path(self) -> str:
        """Where the API has it."""
        if self.parent is None:
            return f"/records/{self.id}"
        return f"/records/{self.parent.record_id}/variants/{self.id}"


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
    """Each call starts from the first record; whatever is a parent comes before its variants."""
    record_count: int
    filled_cells: int
    left: Counter[str] = field(default_factory=Counter)
    """What this version has no place for, told once: what it is -> how many."""
    notes: tuple[str, ...] = ()
    """What whoever moves should know besides."""
    problems: tuple[Problem, ...] = ()
    """What of the model was refused before anything was sent."""
    records_file: str = "products.csv"
    variant_count: int = 0
    finish: Callable[[Report], str] | None = None
    """Called at the end, to write what the source tells besides the report; says what it did."""

    def file_of(self, record: RecordPlan) -> str:
        """The name of the file that its row is in."""
        return record.file or self.records_file

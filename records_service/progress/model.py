"""Jobs that clients can follow, as they are stored and shown.

At most one job of a kind is unfinished for one subject: an attribute, a schema, or the workspace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import Field

from shared.database.paging import Paged, PageQuery
from shared.http.shapes import Shape

SAMPLES_MAX: Final = 100
NOBODY: Final = ""
"""Stands for who requested a job, or what it is about, where there is no such thing."""
KEPT_DAYS: Final = 30
"""A job that has ended is shown for so long, at least."""


class JobKind(StrEnum):
    """What a job does.

    `make-unique` compares the stored values of an attribute that became unique, `move-states` takes
    the records of a schema to the states of its new workflow, `remove-values` removes the values of
    a deleted attribute, `convert` converts the values of an attribute to another type.
    `build-index` enters records into the search index, and `index-texts` reads them for the
    full-text index, after a change of the data model; `score-records` stores the scores of
    completeness, after a change of what is required, `sort-records` the orders of texts, after a
    change of what is filterable.
    """

    MAKE_UNIQUE = "make-unique"
    MOVE_STATES = "move-states"
    REMOVE_VALUES = "remove-values"
    CONVERT = "convert"
    BUILD_INDEX = "build-index"
    INDEX_TEXTS = "index-texts"
    SCORE_RECORDS = "score-records"
    SORT_RECORDS = "sort-records"

    @property
    def is_about_a_schema(self) -> bool:
        """Whether the subject is a schema."""
        return self is JobKind.MOVE_STATES

    @property
    def is_about_an_attribute(self) -> bool:
        """Whether the subject is an attribute."""
        return self in (JobKind.MAKE_UNIQUE, JobKind.REMOVE_VALUES, JobKind.CONVERT)


class JobStatus(StrEnum):
    """Where a job is. `partial`: it has ended, and some records failed."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Counts:
    """How many records and variants a slice of a job has done, by what became of them."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """A record that stands against a job, or a variant of it, and why."""

    record_id: str
    reason: str
    variant_id: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is stored; `subject_id` is the id of an attribute or a schema, or empty.

    `created_by` is empty where nobody requested it.
    """

    id: str
    kind: JobKind
    subject_id: str
    status: JobStatus
    total: int | None
    created: int
    updated: int
    unchanged: int
    skipped: int
    failed: int
    samples: Sequence[dict[str, Any]]
    error: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    created_by: str

    @property
    def is_unfinished(self) -> bool:
        """Whether it goes on."""
        return self.completed_at is None


class JobFilter(PageQuery):
    """Which jobs a list shows."""

    attribute_id: Annotated[str, Field(max_length=200)] | None = Field(
        default=None, alias="attributeId"
    )
    """Only jobs about this attribute (id or alias)."""
    schema_id: Annotated[str, Field(max_length=200)] | None = Field(default=None, alias="schemaId")
    """Only jobs about this schema (id or alias)."""
    kind: Annotated[JobKind, Field(strict=False)] | None = None
    """Only jobs of this kind."""
    status: Annotated[JobStatus, Field(strict=False)] | None = None
    """Only jobs with this status."""


class JobSample(Shape):
    """A record that stands against the job."""

    entity_id: str = Field(alias="entityId")
    """Id of the record."""
    variant_id: str | None = Field(alias="variantId")
    """Id of its variant, if the value is the variant's own."""
    reason: str
    """What is wrong."""


class JobAnswer(Shape):
    """A background job. The counts are of records and variants, and add up to `processed`."""

    id: str
    """The id."""
    kind: JobKind
    """What it does."""
    status: JobStatus
    """Where it is."""
    attribute_id: str | None = Field(alias="attributeId")
    """Id of the attribute that it is about, if it is about one."""
    schema_id: str | None = Field(alias="schemaId")
    """Id of the schema that it is about, if it is about one."""
    total: int | None
    """How many records and variants there are to look at, once it is known."""
    processed: int
    """How many were looked at."""
    created: int
    """Always 0: these jobs create nothing."""
    updated: int
    """How many were changed."""
    unchanged: int
    """How many have a value, or a state, that stays as it is."""
    skipped: int
    """How many have nothing that the job is about."""
    failed: int
    """How many stand against it."""
    samples: list[JobSample]
    """Up to 100 of those that failed. Empty for users whose role is limited."""
    error: str | None
    """Why it failed, or was cancelled."""
    created_at: datetime = Field(alias="createdAt")
    """When it was requested."""
    started_at: datetime | None = Field(alias="startedAt")
    """When it began."""
    completed_at: datetime | None = Field(alias="completedAt")
    """When it ended."""
    created_by: str | None = Field(alias="createdBy")
    """Id of the user or API key that requested it. Null for a job that follows from a change of
    the data model."""


class JobPage(Paged):
    """One page of the list of jobs."""

    items: list[JobAnswer]
    """The jobs."""

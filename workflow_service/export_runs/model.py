"""A run as it is sent, stored and returned."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from shared.http.shapes import Closed, Shape
from shared.http.times import Moment
from shared.identity import Identity
from workflow_service.acting import SubjectKind, subject_kind
from workflow_service.leases import Lease

RUNS_KEPT: Final = 200
"""Of one job; older ones are removed when another begins."""
ERROR_LENGTH_MAX: Final = 1_000
PATH_LENGTH_MAX: Final = 2_048
ERROR_OF_OTHERS: Final = "The run failed; administrators are shown why"

RunStatus = TypeAliasType(
    "RunStatus",
    Annotated[Literal["running", "success", "failed"], Field(description="What became of a run.")],
)
RunOutcome = TypeAliasType(
    "RunOutcome",
    Annotated[
        Literal["success", "failed"], Field(description="What became of a run that has ended.")
    ],
)
Number = Annotated[int, Field(ge=0, le=1 << 53)]


class RunDraft(Closed):
    """A run that was made elsewhere. Without any field, a run is started now."""

    status: RunOutcome | None = None
    """What became of the run."""
    startedAt: Moment | None = None  # noqa: N815 - as in JSON
    """When it began. Default: now."""
    completedAt: Moment | None = None  # noqa: N815 - as in JSON
    """When it ended. Default: now."""
    recordCount: Number | None = None  # noqa: N815 - as in JSON
    """The number of records in the file."""
    fileSize: Number | None = None  # noqa: N815 - as in JSON
    """The size of the file in bytes."""
    destinationPath: Annotated[str, Field(max_length=PATH_LENGTH_MAX)] | None = None  # noqa: N815
    """Where the file is."""
    error: Annotated[str, Field(max_length=ERROR_LENGTH_MAX)] | None = None
    """Why the run failed."""


class RunAnswer(Shape):
    """A run of an export job."""

    id: str = Field(examples=["run-k3v9t2"])
    """The id."""
    jobId: str = Field(examples=["job-nightly-prices"])  # noqa: N815 - as in JSON
    """Id of the export job."""
    status: RunStatus
    """What became of it."""
    startedAt: datetime  # noqa: N815 - as in JSON
    """When it began."""
    completedAt: datetime | None  # noqa: N815 - as in JSON
    """When it ended."""
    recordCount: int | None  # noqa: N815 - as in JSON
    """The number of records in the file. Null for a role if the run had somebody else's rights."""
    fileSize: int | None  # noqa: N815 - as in JSON
    """The size of the file in bytes, as it was sent. Null as `recordCount` is."""
    replacedCharacters: int | None  # noqa: N815 - as in JSON
    """The number of characters that XML forbids, which U+FFFD stands for in the file. Null as
    `recordCount` is."""
    destinationPath: str | None  # noqa: N815 - as in JSON
    """Where the file is."""
    error: str | None
    """Why it failed; in general terms where `recordCount` is not shown."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run, without its lease."""

    job_id: str
    id: str
    status: str
    started_at: datetime
    completed_at: datetime | None = None
    record_count: int | None = None
    file_size: int | None = None
    replaced_characters: int | None = None
    destination_path: str | None = None
    error: str | None = None
    runs_as: str | None = None
    runs_as_kind: SubjectKind | None = None
    """Whose rights it had, or who recorded it; not known before a process works on it."""

    def shown_to(self, identity: Identity) -> dict[str, Any]:
        """The run as it is answered.

        How much was exported with the rights of others tells of what is hidden from a role.
        """
        own = (self.runs_as_kind, self.runs_as) == (subject_kind(identity), identity.id)
        is_whole = own or identity.unrestricted
        return {
            "id": self.id,
            "jobId": self.job_id,
            "status": self.status,
            "startedAt": self.started_at,
            "completedAt": self.completed_at,
            "recordCount": self.record_count if is_whole else None,
            "fileSize": self.file_size if is_whole else None,
            "replacedCharacters": self.replaced_characters if is_whole else None,
            "destinationPath": self.destination_path,
            "error": self.error if is_whole or self.error is None else ERROR_OF_OTHERS,
        }


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that this process works on, and its job as it was at that moment."""

    workspace_id: str
    job_id: str
    run_id: str
    worker: str
    attempt: int
    started_at: datetime
    traceparent: str | None
    body: dict[str, Any]
    sealed: str
    runs_as: str
    runs_as_kind: SubjectKind

    @property
    def lease(self) -> Lease:
        """The run as its worker's, whoever that is by now."""
        return Lease(self.workspace_id, self.job_id, self.run_id, self.worker)


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a run: the file, or `error`."""

    record_count: int | None = None
    file_size: int | None = None
    replaced_characters: int | None = None
    destination_path: str | None = None
    error: str | None = None

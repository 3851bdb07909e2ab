"""A synchronisation as it is stored, and what is known about records at its target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from workflow_service.leases import Lease

ERRORS_SHOWN: Final = 20
"""In the answer with a log; all of them are on the pages of its errors."""


class Direction(StrEnum):
    """What a synchronisation does."""

    BOTH = "bidirectional"
    PUSH = "push"
    PULL = "pull"


class Status(StrEnum):
    """How far a synchronisation is, or how it ended."""

    RUNNING = "running"
    SUCCESS = "success"
    PARTIAL = "partial"
    FAILED = "failed"


class Step(StrEnum):
    """What a synchronisation is at. Each step is done before the next one begins."""

    PULL = "pull"
    PUSH = "push"
    DONE = "done"


STEPS: Mapping[Direction, Sequence[Step]] = {
    Direction.BOTH: (Step.PULL, Step.PUSH),
    Direction.PUSH: (Step.PUSH,),
    Direction.PULL: (Step.PULL,),
}


@dataclass(frozen=True, slots=True)
class Run:
    """A synchronisation as it is kept."""

    workspace_id: str
    channel_id: str
    id: str
    direction: Direction
    status: Status
    caller_kind: str
    caller_id: str
    created_at: datetime
    completed_at: datetime | None
    created: int
    updated: int
    skipped: int
    failed: int
    error: str | None
    step: Step
    place: Any
    checkpoint: str | None
    holder: str | None
    traceparent: str | None = None
    """Of the request that has started it, where that is traced."""

    @property
    def lease(self) -> Lease:
        """The row as its holder's, whoever that is by now."""
        return Lease(self.workspace_id, self.channel_id, self.id, self.holder or "")

    def mark(self, step: Step) -> str:
        """What records get with which this step has dealt: repeated, it leaves them."""
        return f"{self.id} {step}"

    def public(self) -> dict[str, Any]:
        """As `SyncLog`, without its errors."""
        return {
            "id": self.id,
            "channelId": self.channel_id,
            "direction": str(self.direction),
            "status": str(self.status),
            "startedAt": self.created_at,
            "completedAt": self.completed_at,
            "startedBy": self.caller_id,
            "created": self.created,
            "updated": self.updated,
            "skipped": self.skipped,
            "failed": self.failed,
            "error": self.error,
        }


@dataclass(frozen=True, slots=True)
class Failure:
    """A record or object that failed. `item` is what it is known by within the run."""

    item: str
    message: str
    detail: str | None = None
    entity_id: str | None = None
    external_id: str | None = None


@dataclass(slots=True)
class Counts:
    """What became of some records or objects."""

    created: int = 0
    updated: int = 0
    skipped: int = 0
    failures: list[Failure] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known about a record at the target."""

    entity_id: str
    external_id: str | None = None
    attempt: str | None = None
    """The key of a create of which the outcome is unknown."""
    sent: Mapping[str, str] = field(default_factory=dict)
    """The fingerprints of what was sent."""
    seen: Mapping[str, str] | None = None
    """Those of what the target showed."""
    last_mark: str | None = None
    """That of the step of a synchronisation that dealt with it last."""
    variants: Mapping[str, str] = field(default_factory=dict)
    """Variant id -> its id at the target."""

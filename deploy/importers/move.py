"""What all steps of an import share: the plan, the API, the report, and what is there so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from deploy.importers.client import Refused, Sigma
from deploy.importers.plan import Plan, Problem, RecordPlan
from deploy.importers.progress import Progress
from deploy.importers.report import Outcome, Place, Report
from deploy.importers.rows import take_note

CONCURRENCY = 8
TRIES = 5
CONFLICT, STALE = 409, 412


@dataclass(slots=True)
class Move:
    """One import while it goes on."""

    sigma: Sigma
    plan: Plan
    report: Report
    progress: Progress
    concurrency: int = CONCURRENCY
    overwrite_edits: bool = False
    absent: set[str] = field(default_factory=set)
    """Ids of model objects that were refused."""
    absent_aliases: set[str] = field(default_factory=set)
    """Aliases of refused attributes."""
    present: set[str] = field(default_factory=set)
    """Ids of the records and variants that are there."""
    linked: int = 0
    """How many of them have relations to make."""
    assigned: int = 0
    """How many of them are in categories."""

    def stop(self, why: object) -> None:
        """Go on with nothing; the first reason is told."""
        self.report.stopped = self.report.stopped or str(why)

    def refuse_record(self, plan: RecordPlan, message: str, code: str = "") -> None:
        """Note that a whole record or variant is not there."""
        take_note(self.report, plan)
        self.report.count(plan.kind, Outcome.REFUSED)
        self.report.cells[Place.REFUSED] += plan.cells
        self.report.refuse(
            Problem(
                plan.kind,
                plan.source,
                message,
                file=self.plan.file_of(plan),
                line=plan.line,
                code=code,
            )
        )


def changed_too_often() -> Refused:
    """What is told when somebody else was faster each time."""
    return Refused(STALE, "PRECONDITION_FAILED", "it is being changed too often at the moment")

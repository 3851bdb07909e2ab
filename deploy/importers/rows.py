"""Notes rows of the source in the report."""

from __future__ import annotations

from deploy.importers.plan import (
    RecordPlan,
    RefusedRow,
)
from deploy.importers.report import Outcome, Place, Report


def take_note(report: Report, plan: RecordPlan) -> None:
    """Of what the source itself says about cells that are not sent."""
    for problem in plan.problems:
        report.refuse(problem)
        report.cells[Place.REFUSED] += len(problem.columns)
    for what, (cells, things) in plan.left.items():
        report.left[what] += things
        report.cells[Place.LEFT] += cells


def refuse_row(report: Report, row: RefusedRow) -> None:
    """Note a row of the source that cannot become a record."""
    report.refuse(row.problem)
    report.count(row.problem.kind, Outcome.REFUSED)
    report.cells[Place.REFUSED] += row.cells

"""Tells what an import would do, without a service."""

from __future__ import annotations

from deploy.importers.plan import (
    Kind,
    Plan,
    RefusedRow,
)
from deploy.importers.progress import Progress
from deploy.importers.report import Outcome, Place, Report
from deploy.importers.rows import refuse_row, take_note


def rehearse(plan: Plan, report: Report, progress: Progress) -> None:
    """Go through the whole plan without sending anything."""
    report.is_dry = True
    for problem in plan.problems:
        report.refuse(problem)
    for model_object in plan.model:
        report.count(model_object.kind, Outcome.NOT_SENT)
    progress.begin("reading products", plan.record_count + plan.variant_count)
    for item in plan.records():
        if isinstance(item, RefusedRow):
            refuse_row(report, item)
        else:
            take_note(report, item)
            report.count(item.kind, Outcome.NOT_SENT)
            report.count(Kind.ASSIGNMENTS, Outcome.NOT_SENT, len(item.categories))
            report.cells[Place.MOVED] += item.cells
            for link in item.links.values():
                report.count(Kind.RELATIONS, Outcome.NOT_SENT, len(link.targets))
        progress.step()
    progress.end()

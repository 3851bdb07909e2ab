"""Executes a plan in a workspace with any existing content, and reports each outcome.

Ids are derived from the source, so every object is looked up before it is written: a second run
changes nothing, and a run that broke off is finished by the next. Nothing is ever taken away.
"""

from __future__ import annotations

from deploy.importers.assigning import load_assignments
from deploy.importers.client import CannotGoOn, Denied, Sigma
from deploy.importers.linking import load_relations
from deploy.importers.model_loading import load_model
from deploy.importers.move import CONCURRENCY, Move
from deploy.importers.plan import Plan
from deploy.importers.progress import Progress
from deploy.importers.record_loading import load_records
from deploy.importers.report import Report

_STEPS = (load_model, load_records, load_relations, load_assignments)


async def load(
    sigma: Sigma,
    plan: Plan,
    report: Report,
    progress: Progress,
    *,
    concurrency: int = CONCURRENCY,
    overwrite_edits: bool = False,
) -> None:
    """The whole move. What cannot go on ends up as `report.stopped`, not as an exception."""
    move = Move(sigma, plan, report, progress, concurrency, overwrite_edits)
    try:
        for step in _STEPS:
            if report.stopped is None:
                await step(move)
    except (CannotGoOn, Denied) as why:
        report.stopped = str(why)
    finally:
        report.retries = sigma.retries
        progress.end()

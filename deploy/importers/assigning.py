"""Assigns the records of a plan to categories, many records at a time.

A category belongs to whole records: what the source says about a variant is said of its record.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from deploy.importers.client import CannotGoOn, Denied, Refused
from deploy.importers.move import Move
from deploy.importers.plan import Kind, Problem, RecordPlan
from deploy.importers.report import Outcome, Place

ASSIGNED_AT_A_TIME = 1_000


async def load_assignments(move: Move) -> None:
    """Of all records and variants that are there."""
    if not move.assigned:
        return
    move.progress.begin("assignments", move.assigned)
    waiting: dict[str, dict[str, None]] = defaultdict(dict)
    refused = set(move.absent)
    try:
        for plan in _assigned(move):
            for category in plan.categories:
                records = waiting[category]
                records[plan.record_id] = None
                if len(records) == ASSIGNED_AT_A_TIME:
                    await _assign(move, category, list(waiting.pop(category)), refused)
            move.progress.step()
        for category, records in waiting.items():
            await _assign(move, category, list(records), refused)
    except (CannotGoOn, Denied) as why:
        move.stop(why)
        return
    for plan in _assigned(move):
        place = Place.REFUSED if refused.intersection(plan.categories) else Place.MOVED
        move.report.cells[place] += len(plan.category_columns)


def _assigned(move: Move) -> Iterator[RecordPlan]:
    return (
        item
        for item in move.plan.records()
        if isinstance(item, RecordPlan) and item.categories and item.id in move.present
    )


async def _assign(move: Move, category: str, records: list[str], refused: set[str]) -> None:
    """One call; a category that refuses it is added to `refused`."""
    report, why = move.report, f"category '{category}' was refused"
    code = ""
    if category not in move.absent:
        try:
            path = f"/categories/{category}/assign"
            answer = await move.sigma.send("POST", path, {"entityIds": records})
        except Denied:
            raise
        except Refused as refusal:
            why, code = refusal.message, refusal.code
        else:
            report.count(Kind.ASSIGNMENTS, Outcome.CREATED, answer["changed"])
            report.count(Kind.ASSIGNMENTS, Outcome.UNCHANGED, len(records) - answer["changed"])
            return
    refused.add(category)
    report.count(Kind.ASSIGNMENTS, Outcome.REFUSED, len(records))
    report.refuse(
        Problem(Kind.ASSIGNMENTS, category, why, value=f"{len(records)} records", code=code)
    )

"""Only the first records of a plan, to try an import before the whole of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from deploy.importers.plan import Kind, Plan, RecordPlan, RefusedRow


def limited(plan: Plan, limit: int) -> Plan:
    """The first records, with all their variants; relations to other records are left out."""
    taken = frozenset(item.id for item, _ in zip(_records(plan), range(limit), strict=False))

    def records() -> Iterator[RecordPlan | RefusedRow]:
        left = len(taken)
        for item in plan.records():
            if isinstance(item, RecordPlan) and item.record_id in taken:
                yield replace(item, links={})
                left -= 1
                if not left and not plan.variant_count:
                    return  # Nothing that follows belongs to them.

    variants = sum(item.kind is Kind.VARIANTS for item in records() if isinstance(item, RecordPlan))
    cells = sum(_cells(item) for item in records())
    return replace(
        plan,
        records=records,
        record_count=len(taken),
        variant_count=variants,
        filled_cells=cells,
        notes=(*plan.notes, f"Only the first {len(taken):,} records, without their relations"),
    )


def _records(plan: Plan) -> Iterator[RecordPlan]:
    for item in plan.records():
        if isinstance(item, RecordPlan) and item.kind is Kind.RECORDS:
            yield item


def _cells(item: RecordPlan | RefusedRow) -> int:
    if isinstance(item, RefusedRow):
        return item.cells
    left = sum(cells for cells, _ in item.left.values())
    return item.cells + left + sum(len(problem.columns) for problem in item.problems)

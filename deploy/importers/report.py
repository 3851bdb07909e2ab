"""The report of an import: outcomes, cells and problems, as text and as JSON.

Every object is in exactly one outcome of its kind, and every filled cell of the products in exactly
one place: the sums are checked against what was read.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from deploy.importers.plan import Kind, Problem

PROBLEMS_KEPT_MAX = 10_000
PROBLEMS_SHOWN_MAX = 20
CHANGES_SHOWN_MAX = 20


class Outcome(StrEnum):
    """What came of one object."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    KEPT = "kept"
    REFUSED = "refused"
    NOT_REACHED = "not reached"
    NOT_SENT = "to be sent"


class Place(StrEnum):
    """Where a filled cell ended."""

    MOVED = "imported"
    LEFT = "deferred"
    REFUSED = "refused"
    KEPT = "kept as edited in Sigma"
    NOT_REACHED = "not reached"


@dataclass(slots=True)
class Report:
    """Filled while the move goes on; tells what is so far when it is broken off."""

    catalogue: str
    filled_cells: int = 0
    outcomes: dict[Kind, Counter[Outcome]] = field(
        default_factory=lambda: {kind: Counter() for kind in Kind}
    )
    cells: Counter[Place] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    changes: list[str] = field(default_factory=list)
    stopped: str | None = None
    """Why the move ended before its end."""
    is_dry: bool = False
    seconds: float = 0.0
    retries: int = 0

    def count(self, kind: Kind, outcome: Outcome, objects: int = 1) -> None:
        """This many more objects of the kind with the outcome."""
        self.outcomes[kind][outcome] += objects

    def refuse(self, problem: Problem) -> None:
        """Keep a problem; beyond a bound they are only counted, so that memory is bounded too."""
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_KEPT_MAX:
            self.problems.append(problem)

    def changed(self, what: str) -> None:
        """Remember what was changed in something that was there."""
        if len(self.changes) < PROBLEMS_KEPT_MAX:
            self.changes.append(what)

    def close(self, record_count: int, seconds: float, variant_count: int = 0) -> None:
        """The end of the move: what was not come to is counted as not reached."""
        self.seconds = seconds
        if self.stopped is None:
            return
        for kind, planned in (
            (Kind.RECORDS, record_count),
            (Kind.VARIANTS, variant_count),
        ):
            self.outcomes[kind][Outcome.NOT_REACHED] += planned - self.outcomes[kind].total()
        self.cells[Place.NOT_REACHED] += self.filled_cells - self.cells.total()

    @property
    def succeeded(self) -> bool:
        """Everything that has a place in Sigma is there."""
        return self.stopped is None and self.problem_count == 0

    @property
    def exit_code(self) -> int:
        """0 when `succeeded`."""
        return 0 if self.succeeded else 1

    def as_json(self) -> dict[str, Any]:
        """Everything, for `--report`."""
        return {
            "catalogue": self.catalogue,
            "succeeded": self.succeeded,
            "dryRun": self.is_dry,
            "stopped": self.stopped,
            "seconds": round(self.seconds, 3),
            "retries": self.retries,
            "objects": {
                kind.value: {outcome.value: self.outcomes[kind][outcome] for outcome in Outcome}
                for kind in Kind
            },
            "cells": {
                "filled": self.filled_cells,
                **{place.value: self.cells[place] for place in Place},
            },
            "left": dict(sorted(self.left.items())),
            "notes": self.notes,
            "problemCount": self.problem_count,
            "problems": [
                {
                    "kind": problem.kind.value,
                    "source": problem.source,
                    "file": problem.file,
                    "line": problem.line,
                    "columns": list(problem.columns),
                    "attribute": problem.attribute,
                    "value": problem.value,
                    "code": problem.code,
                    "message": problem.message,
                }
                for problem in self.problems
            ],
            "changes": self.changes,
        }

    def as_text(self) -> str:
        """For whoever started it."""
        return "\n".join(
            [
                *self._heading(),
                *self._table(),
                *self._cells(),
                *_listed("Deferred (not supported by this version)", self._left()),
                *_listed("Notes", self.notes),
                *_listed("Changed", self.changes, CHANGES_SHOWN_MAX),
                *self._problems(),
            ]
        )

    def _heading(self) -> list[str]:
        how = "read, nothing sent" if self.is_dry else f"in {self.seconds:.1f} s"
        lines = [f"Import of {self.catalogue}: {how}"]
        if self.seconds and not self.is_dry:
            lines.append(self._rate())
        if self.retries:
            lines.append(f"{self.retries} requests were retried")
        if self.stopped is not None:
            lines.append(f"STOPPED: {self.stopped}")
        return lines

    def _rate(self) -> str:
        rows = sum((self.outcomes[kind] for kind in (Kind.RECORDS, Kind.VARIANTS)), Counter())
        lost = rows[Outcome.REFUSED] + rows[Outcome.NOT_REACHED]
        return (
            f"Read {rows.total():,} records and variants: {rows.total() - lost:,} stored,"
            f" {rows[Outcome.REFUSED]:,} refused; {rows.total() / self.seconds:,.0f} a second"
        )

    def _table(self) -> list[str]:
        shown = [o for o in Outcome if any(counts[o] for counts in self.outcomes.values())]
        if not shown:
            return []
        lines = ["", f"{'':14}" + "".join(f"{outcome:>13}" for outcome in shown)]
        for kind in Kind:
            counts = self.outcomes[kind]
            if counts.total():
                cells = "".join(f"{counts[outcome]:>13,}" for outcome in shown)
                lines.append(f"{kind:14}{cells}")
        return lines

    def _cells(self) -> list[str]:
        said = ", ".join(f"{self.cells[p]:,} {p}" for p in Place if self.cells[p])
        lines = ["", f"Filled cells of the products: {self.filled_cells:,} = {said or 'none'}"]
        if self.cells.total() != self.filled_cells:
            lines.append(f"  The sum is {self.cells.total():,}: this is a bug in the import tool")
        return lines

    def _left(self) -> list[str]:
        return [f"{count:,} {what}" for what, count in sorted(self.left.items()) if count]

    def _problems(self) -> list[str]:
        if not self.problem_count:
            return []
        shown = [str(problem) for problem in self.problems[:PROBLEMS_SHOWN_MAX]]
        lines = ["", f"Refused: {self.problem_count:,}", *(f"  {line}" for line in shown)]
        more = self.problem_count - len(shown)
        if more:
            lines.append(f"  and {more:,} more; `--report FILE` lists them")
        return lines


def _listed(title: str, lines: list[str], shown_max: int | None = None) -> list[str]:
    if not lines:
        return []
    shown = lines[:shown_max]
    more = [f"  and {len(lines) - len(shown):,} more"] if len(lines) > len(shown) else []
    return ["", title, *(f"  {line}" for line in shown), *more]

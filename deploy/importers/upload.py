"""A record on its way to the API, without values that the API refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.importers.client import Refused
from deploy.importers.plan import (
    Entry,
    Problem,
    RecordPlan,
)

VALUE_SHOWN_MAX = 60


@dataclass(slots=True)
class RecordUpload:
    """A record on its way, without those values that turned out to be refused."""

    plan: RecordPlan
    values: dict[str, tuple[Entry, ...]]
    file: str
    sent: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    """The values of the last request, as the API counts them."""
    problems: list[Problem] = field(default_factory=list)

    @property
    def path(self) -> str:
        """Where the API has it."""
        return self.plan.path

    def drop_faulty(self, refusal: Refused) -> bool:
        """Leave out the values that the API points at; False where it points at anything else."""
        named: dict[tuple[str, int | None], str] = {}
        for fault in refusal.faults:
            parts = [
                part.replace("~1", "/").replace("~0", "~") for part in fault.pointer.split("/")
            ]
            match parts:
                case ["", "values", alias, index, *_] if index.isdigit():
                    named.setdefault((alias, int(index)), fault.message)
                case ["", "values", alias]:
                    named.setdefault((alias, None), fault.message)
                case _:
                    return False
        before = len(self.problems)
        for (alias, place), message in named.items():
            # What is sent may hold entries that were there already, so its places are not ours.
            scope = None if place is None else self.sent[alias][place]["scope"]
            self.drop(alias, scope, message, refusal.code)
        return len(self.problems) > before

    def drop(
        self, alias: str, scope: Mapping[str, str] | None, message: str, code: str = ""
    ) -> None:
        """Leave out the entry of an attribute in this scope, or all its entries."""
        kept = []
        for entry in self.values.get(alias, ()):
            if scope is not None and entry.scope != scope:
                kept.append(entry)
                continue
            self.problems.append(
                Problem(
                    self.plan.kind,
                    self.plan.source,
                    message,
                    file=self.file,
                    line=self.plan.line,
                    columns=entry.columns,
                    attribute=alias,
                    value=str(entry.value)[:VALUE_SHOWN_MAX],
                    code=code,
                )
            )
        if kept:
            self.values[alias] = tuple(kept)
        else:
            self.values.pop(alias, None)

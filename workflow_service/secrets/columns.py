"""The columns that hold sealed secrets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column of a table with the columns `workspace_id` and `id`; `kind` is that of `Place`."""

    table: str
    kind: str
    column: str


COLUMNS: Final[tuple[SealedColumn, ...]] = (
    SealedColumn("webhooks", "webhook", "secret"),
    SealedColumn("webhooks", "webhook", "former_secret"),
    SealedColumn("channels", "channel", "config"),
    SealedColumn("export_jobs", "export job", "sealed"),
)

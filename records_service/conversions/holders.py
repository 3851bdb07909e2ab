"""Shares the records and variants that have a value out into slices that fit into memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from records_service.conversions import store
from records_service.model_objects.search_store import VALUE_TABLES, ValueTable
from shared.database import Conn

SLICE_ROWS_MAX: Final = 1_000
SLICE_BYTES_MAX: Final = 4 << 20
"""What is read at once ends with the record or variant that reaches this size."""


@dataclass(slots=True)
class Slice:
    """Records or variants that are converted by one statement."""

    table: ValueTable
    ids: list[str] = field(default_factory=list)
    bytes: int = 0

    @property
    def is_full(self) -> bool:
        """Whether no other fits in."""
        return len(self.ids) >= SLICE_ROWS_MAX or self.bytes >= SLICE_BYTES_MAX


async def slices_of(
    conn: Conn, workspace_id: str, attribute_id: str, *, holders_max: int, bytes_max: int
) -> Sequence[Slice] | None:
    """Those that were noted and have a value now; None if they are more than this.

    Their bytes are those of all their values: all are read, and written again. Nothing is read any
    more once there are too many.
    """
    slices: list[Slice] = []
    count, total = 0, 0
    for table in VALUE_TABLES:
        current = Slice(table)
        after_id = ""
        while True:
            sized = await store.sizes(
                conn, workspace_id, attribute_id, table, after_id, rows_max=store.SIZED_AT_ONCE
            )
            for one_id, size in sized:
                if size is None:
                    continue
                count, total = count + 1, total + size
                if current.is_full:
                    slices.append(current)
                    current = Slice(table)
                current.ids.append(one_id)
                current.bytes += size
            if count > holders_max or total > bytes_max:
                return None
            if len(sized) < store.SIZED_AT_ONCE:
                break
            after_id = sized[-1][0]
        if current.ids:
            slices.append(current)
    return slices

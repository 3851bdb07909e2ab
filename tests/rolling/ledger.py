"""What the API acknowledged, and whether it is still there."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tests.kit.sigma import Caller

PAGE = 500


@dataclass(slots=True)
class Item:
    """One record, role or workflow: what its last acknowledged write left.

    Only one request at a time writes to it, so its content is known exactly.
    """

    path: str
    content: Any
    version: int = 1
    perhaps: list[Any] = field(default_factory=list)
    """Contents of writes that were neither acknowledged nor refused."""

    @property
    def id(self) -> str:
        return self.path.rpartition("/")[2]

    def acknowledged(self, content: Any, etag: str) -> None:
        self.content, self.version = content, int(etag.strip('W/"'))


class Ledger:
    """Everything that was written. `free` are records that no request writes to now."""

    def __init__(self) -> None:
        self.records: dict[str, Item] = {}
        self.free: deque[Item] = deque()
        self.others: list[Item] = []
        self.writes = 0

    def add_record(self, item: Item) -> None:
        self.records[item.id] = item
        self.free.append(item)

    @property
    def items(self) -> tuple[Item, ...]:
        return (*self.records.values(), *self.others)

    async def lost(self, reader: Caller) -> list[str]:
        """Compare all of it with what the API says now; one line for each difference."""
        found: dict[str, dict[str, Any]] = {}
        total = 1
        while len(found) < total:
            page = (await reader.get(f"/records?limit={PAGE}&offset={len(found)}")).ok()
            total = page["total"]
            found.update({item["id"]: item for item in page["items"]})
        lines = []
        for item in self.records.values():
            now = None if item.id not in found else record_content(found[item.id])
            if now != item.content and now not in item.perhaps:
                lines.append(f"record {item.id}: {item.content} was acknowledged, found {now}")
        for item in self.others:
            now = (await reader.get(item.path)).ok()["name"]
            if now != item.content and now not in item.perhaps:
                lines.append(f"{item.path}: {item.content} was acknowledged, found {now}")
        return lines


def record_content(record: dict[str, Any]) -> tuple[str, str]:
    """Its name and its state."""
    return record["values"]["name"][0]["value"], record["lifecycleStateId"]

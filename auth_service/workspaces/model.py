"""A workspace."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

RECORD_LIMIT_DEFAULT = 500
RECORD_LIMIT_MAX = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Workspace:
    """One tenant: everything else belongs to exactly one of them."""

    id: str
    name: str
    record_limit: int
    version: int
    created_at: datetime
    updated_at: datetime

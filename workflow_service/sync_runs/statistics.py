"""Lets PostgreSQL know of a channel that grows (docs/adr/0092)."""

from __future__ import annotations

from typing import Final

from shared.database import Database

KNOWN_FROM: Final = 256
"""Fewer mappings are read as fast with any plan."""


async def analyze_grown(db: Database, before: int, now: int) -> None:
    """Analyse the mappings if a step of a run has dealt with twice as many records by now.

    Until then PostgreSQL may expect one mapping of the channel where there are 20,000, and read
    them all for each page.
    """
    if now >= KNOWN_FROM and before.bit_length() != now.bit_length():
        async with db.acquire() as conn:
            # What somebody else analyses or vacuums at this moment is known soon.
            await conn.execute("ANALYZE (SKIP_LOCKED) sync_mappings")

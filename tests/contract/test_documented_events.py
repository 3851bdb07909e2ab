"""docs/events.md lists every event type of shared/events.py, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from shared.events import EventType

PAGE = Path(__file__).parents[2] / "docs" / "events.md"


def test_the_documentation_lists_every_event_type_and_no_other():
    _, _, tables = PAGE.read_text().partition("## Event types")
    rows = re.findall(r"^\| (`[a-z.`, -]+`) \|", tables, flags=re.MULTILINE)
    documented = [name for row in rows for name in re.findall(r"`([a-z.-]+)`", row)]
    # The heartbeat of the relay is described beside the tables.
    assert sorted(documented) == sorted(set(EventType) - {EventType.AUTH_WATERMARK})

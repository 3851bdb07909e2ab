"""Writes the dashboards: `python -m deploy.dashboards`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deploy.dashboards.board import Board, as_json
from deploy.dashboards.clients import CLIENTS
from deploy.dashboards.database import DATABASE
from deploy.dashboards.events import EVENTS

FOLDER: Final = Path(__file__).parents[1] / "kubernetes/components/grafana"
BOARDS: Final[Mapping[str, Board]] = {
    "clients.json": CLIENTS,
    "events.json": EVENTS,
    "database.json": DATABASE,
}


def main() -> None:
    """Write all of them."""
    for name, board in BOARDS.items():
        (FOLDER / name).write_text(as_json(board))


if __name__ == "__main__":
    main()

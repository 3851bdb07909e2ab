"""The dashboards in the repository are those that the code draws, and panels differ."""

from __future__ import annotations

import json

import pytest

from deploy.dashboards.__main__ import BOARDS, FOLDER
from deploy.dashboards.board import CHARTS_IN_A_ROW, as_json


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_is_as_it_is_drawn(name: str):
    """After a change: `python -m deploy.dashboards`."""
    assert (FOLDER / name).read_text() == as_json(BOARDS[name])


def test_no_other_dashboard_is_in_the_folder():
    assert {path.name for path in FOLDER.glob("*.json")} == set(BOARDS)
    listed = (FOLDER / "kustomization.yaml").read_text()
    assert all(name in listed for name in BOARDS)


@pytest.mark.parametrize("name", BOARDS)
def test_panels_are_told_apart_and_have_a_place(name: str):
    board = json.loads((FOLDER / name).read_text())
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)
    for panel in panels:
        if panel["type"] == "timeseries":
            letters = [target["refId"] for target in panel["targets"]]
            assert letters and len(set(letters)) == len(letters)
            assert panel["gridPos"]["w"] * CHARTS_IN_A_ROW == 24
    assert len({one.uid for one in BOARDS.values()}) == len(BOARDS)

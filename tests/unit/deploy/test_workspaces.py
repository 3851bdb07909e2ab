"""`python -m deploy.workspaces`: what it says of a configuration that is not whole."""

from __future__ import annotations

import pytest

from deploy.workspaces.__main__ import main
from deploy.workspaces.databases import shown

SERVICES = ("AUTH", "RECORDS", "WORKFLOW")


def test_a_move_without_a_target_is_told_what_is_missing_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for name in SERVICES:
        monkeypatch.setenv(f"SIGMA_{name}_DATABASE_URL", "postgresql://of@source/one")
        monkeypatch.delenv(f"SIGMA_TO_{name}_DATABASE_URL", raising=False)
    assert main(["move", "ws-acme"]) == 2
    missing = [f"  SIGMA_TO_{name}_DATABASE_URL is missing" for name in SERVICES]
    assert capsys.readouterr().err.splitlines() == ["The configuration is not valid:", *missing]


def test_many_tables_are_shown_by_the_first():
    assert shown(["a.one", "a.two"]) == "a.one, a.two"
    assert shown(["a.one", "a.two", "a.three", "b.four", "b.five"]) == (
        "a.one, a.two, a.three and 2 more tables"
    )

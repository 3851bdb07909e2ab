"""Each bug that the fault experiments plant fits the code as it is today, and every one is used."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.failover import catalogue as failover
from tests.failover import planted as failover_planted
from tests.faults.catalogue import ALSO_PLANTED, EXPERIMENTS
from tests.faults.checker import Kind
from tests.faults.planted import BUGS, Bug, Change, DoesNotFit
from tests.kit.servers import ROOT


@pytest.mark.parametrize("bug", (*BUGS, *failover_planted.BUGS), ids=lambda bug: bug.what)
def test_a_bug_can_be_planted_and_is_python(bug: Bug, tmp_path: Path):
    for file in {change.file for change in bug.changes}:
        copy = tmp_path / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text((ROOT / file).read_text())
    bug.plant(tmp_path)
    for change in bug.changes:
        ast.parse((tmp_path / change.file).read_text())


def test_every_bug_turns_an_experiment_red():
    assert {experiment.bug for experiment in (*EXPERIMENTS, *ALSO_PLANTED)} == set(BUGS)
    planted = {experiment.bug for experiment in failover.EXPERIMENTS}
    assert planted - set(BUGS) == set(failover_planted.BUGS)


def test_every_violation_has_a_bug():
    """But for lateness, which depends on the machine."""
    found = {experiment.finds for experiment in (*EXPERIMENTS, *ALSO_PLANTED)}
    assert found == set(Kind) - {Kind.LATE}


def test_a_bug_that_does_not_fit_is_refused():
    change = Change("x.py", "right", "wrong")
    for text in ("left", "right right"):
        with pytest.raises(DoesNotFit):
            change.made_in(text)

"""Messages repeat little of what was sent, and every place that does so asks one function."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared.errors import Conflict, NotFound
from shared.quoting import told

SERVICES = ("gateway", "auth_service", "records_service", "workflow_service", "shared")
ROOT = Path(__file__).parents[2]


def test_a_value_is_told_by_its_first_hundred_characters():
    assert told("x" * 100) == "x" * 100
    assert told("x" * 101) == "x" * 100 + "…"
    long = "x" * 5_000
    for one in (NotFound.of("Entity", long), Conflict.taken("Role", long)):
        assert long[:101] not in one.message


@pytest.mark.parametrize("service", SERVICES)
def test_no_message_cuts_what_it_repeats_by_itself(service: str):
    cuts = re.compile(r"\{[^{}]*\[:\w+\][^{}]*\}'")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted((ROOT / service).rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if cuts.search(line) and "method[:32]" not in line
    ]
    assert found == []


@pytest.mark.parametrize("service", SERVICES)
def test_no_message_is_made_of_a_representation_of_pythons(service: str):
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted((ROOT / service).rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if "!r}" in line and "not an event" not in line
    ]
    assert found == []

"""Each block of commands for operators is run by a test as it stands, or says that none runs it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.kit.pages import UNTESTED, Block, blocks
from tests.kit.servers import ROOT

OPERATIONS = ROOT / "docs" / "operations.md"
FOR_USERS = ("errors.md", "events.md", "variants.md", "import-graph.md")
PAGES = [
    ROOT / "README.md",
    *(page for page in (ROOT / "docs").glob("*.md") if page.name not in FOR_USERS),
    ROOT / "docs" / "how-to" / "move-a-workspace.md",
    *(ROOT / "deploy").rglob("README.md"),
]


def complaint(block: Block) -> str:
    if all(line.startswith("make ") for line in block.text.splitlines()):
        # tests/unit/test_documentation.py knows the targets of the Makefile.
        return ""
    if not block.test:
        told = UNTESTED in block.before
        return "" if told else f"no test is named, and it does not say '{UNTESTED}'"
    test = ROOT / block.test
    if not test.is_file():
        return f"there is no {block.test}"
    return "" if f'"{block.name}"' in test.read_text() else f"{block.test} does not name it"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_is_run_by_a_test_or_says_that_it_is_not(page: Path):
    wrong = {block.text: told for block in blocks(page) if (told := complaint(block))}
    assert wrong == {}
    names = [block.name for block in blocks(page) if block.name]
    assert len(names) == len(set(names))


def test_operations_lists_what_no_test_runs():
    """An operator sees at once which commands to try on a copy first."""
    page = OPERATIONS.read_text()
    _, _, told = page.partition("No test runs those of ")
    listed = re.findall(r"\[([^]]+)\]\(#", told.partition(".\n")[0])
    untested = [one.section for one in blocks(OPERATIONS) if UNTESTED in one.before]
    assert listed == list(dict.fromkeys(untested))


def test_a_block_that_nobody_runs_is_found(tmp_path: Path):
    page = tmp_path / "page.md"
    here = Path(__file__).relative_to(ROOT)
    page.write_text(
        "Do this:\n\n```sh\nrm -r x\n```\n\nOr (not tested\nhere):\n\n    rm -r y\n    rm -r z\n\n"
        f"1. So:\n\n   <!-- run by {here}: run-here -->\n\n"
        "   ```sh\n   rm -r a\n     b\n   ```\n\n"
        "<!-- run by tests/unit/test_none.py: x -->\n\n```sh\nrm -r b\n```\n"
    )
    found = list(blocks(page))
    assert found[2].name == "run-here"
    assert [block.text for block in found] == [
        "rm -r x\n",
        "rm -r y\nrm -r z\n",
        "rm -r a\n  b\n",
        "rm -r b\n",
    ]
    assert [complaint(block) for block in found] == [
        "no test is named, and it does not say 'not tested here'",
        "",
        "",
        "there is no tests/unit/test_none.py",
    ]

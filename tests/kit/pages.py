"""The commands of the documentation, as they stand there.

A comment before a block of commands names the test that runs it, and the block:

    <!-- run by tests/e2e/test_operations.py: install -->

A block that no test runs has "not tested here" in the paragraph before it. One of the two is
demanded by tests/unit/test_page_commands.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from tests.kit.servers import ROOT

OPERATIONS = ROOT / "docs" / "operations.md"
UNTESTED = "not tested here"
_MARK = re.compile(r"<!-- run by (\S+): ([\w-]+) -->")


@dataclass(frozen=True, slots=True)
class Block:
    """Commands of a page; `test` and `name` are empty if no test is named."""

    text: str
    before: str
    """The paragraph before it, in one line."""
    test: str
    name: str
    section: str = ""
    """The heading above it."""


def blocks(page: Path) -> Iterator[Block]:
    """Each block that somebody would copy into a shell or into a file."""
    before, mark, section, is_heading = "", None, "", False
    for token in MarkdownIt().parse(page.read_text()):
        if token.type in ("heading_open", "heading_close"):
            is_heading = token.type == "heading_open"
        elif token.type == "inline" and is_heading:
            section = token.content
        if token.type == "inline":
            before, mark = " ".join(token.content.split()), None
        elif token.type == "html_block":
            mark = _MARK.match(token.content)
        elif token.type in ("fence", "code_block"):
            test, name = mark.groups() if mark is not None else ("", "")
            yield Block(token.content, before, test, name, section)
            mark = None


def block(name: str, page: Path = OPERATIONS) -> str:
    """The block of this name."""
    (found,) = (each.text for each in blocks(page) if each.name == name)
    return found


def commands(*names: str, page: Path = OPERATIONS) -> str:
    """These blocks as one script, which ends with the first failure."""
    return "\n".join(["set -eu", *(block(name, page) for name in names)])

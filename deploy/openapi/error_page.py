"""Writes `gateway/static/errors.html` from `docs/errors.md`: `make openapi`.

Every code of the registry has a section there, whose anchor is the code: the `Link` header of an
error leads to it.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt

from shared.errors import BY_CODE

ERRORS_FILE: Final = Path(__file__).parents[2] / "docs" / "errors.md"
PAGE_FILE: Final = Path(__file__).parents[2] / "gateway" / "static" / "errors.html"
_CODE_HEADING: Final = "h3"
_CODE_CELL: Final = re.compile(r"<td><code>([A-Z_]+)</code></td>")

_PAGE: Final = """\
<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Errors of the Sigma PIM API</title>
    <link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
    <link rel="stylesheet" href="/docs/page.css">
  </head>
  <body class="text">
<p><a href="/docs">All endpoints</a></p>
{content}</body>
</html>
"""


def written(markdown: str) -> bytes:
    """The bytes of the page.

    Raises `ValueError` unless there is one section for each code, in the order of the registry.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    codes = []
    for opening, text in pairwise(tokens):
        if opening.type != "heading_open":
            continue
        if opening.tag == _CODE_HEADING:
            codes.append(text.content)
            opening.attrSet("id", text.content)
        else:
            opening.attrSet("id", re.sub(r"\W+", "-", text.content.lower()))
    if codes != list(BY_CODE):
        raise ValueError(f"docs/errors.md explains {codes}, expected {list(BY_CODE)}")
    content = parser.renderer.render(tokens, parser.options, {})
    content = _CODE_CELL.sub(r'<td><a href="#\1"><code>\1</code></a></td>', content)
    return _PAGE.format(content=content).encode()


def write() -> None:
    """Write the page."""
    PAGE_FILE.write_bytes(written(ERRORS_FILE.read_text()))

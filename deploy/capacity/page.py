"""Puts the tables into docs/scale.md; the text between them is written by people."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).parents[2] / "docs" / "scale.md"
_PLACE: Final = re.compile(r"<!-- generated: ([a-z]+) -->\n.*?<!-- end -->", re.DOTALL)


def filled(text: str, tables: Mapping[str, str]) -> str:
    """The page with these tables in their places.

    `ValueError` if a table has no place, or a place no table.
    """
    places = [match[1] for match in _PLACE.finditer(text)]
    if sorted(places) != sorted(tables):
        differing = sorted({*places} ^ {*tables}) or sorted(places)
        raise ValueError(f"places and tables differ: {', '.join(differing)}")
    return _PLACE.sub(
        lambda match: f"<!-- generated: {match[1]} -->\n{tables[match[1]]}\n<!-- end -->", text
    )

r"""The categories that a cell names: all that the record is to be in.

An empty cell changes nothing, and `\N` alone takes the record out of all. Several are separated by
vertical bars, or stand in an array in JSON; a name that holds a bar itself is meant before the cell
is split.

Source of the rule: the page about importing and exporting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from records_service.catalogs.categories.model import CATEGORIES_MAX
from records_service.catalogs.categories.name_store import Placed
from records_service.tabular.cells import CLEAR, SEPARATOR, unescaped, unguarded
from records_service.tabular.columns import CATEGORIES_COLUMN
from shared.errors import truncated
from shared.http.json_types import js_type

IDS_NAMED_MAX: Final = 10
POINTER: Final = f"/{CATEGORIES_COLUMN}"


class UnusableCategories(Exception):
    """A cell names no categories, or not clearly; the text says why."""


@dataclass(frozen=True, slots=True)
class NamedCategories:
    """What a cell says: `whole` is one name that holds bars, `several` are its parts."""

    column: str
    several: Sequence[str]
    whole: str | None = None

    @property
    def names(self) -> Sequence[str]:
        """All that may be the name of a category."""
        return self.several if self.whole is None else [self.whole, *self.several]

    def placed(self, found: Mapping[str, Sequence[Placed]]) -> list[Placed]:
        """The categories, each once; `found` has what each name means.

        Raises `UnusableCategories` for a name that means none, or several.
        """
        if self.whole is not None and found.get(self.whole):
            return [self._one(self.whole, found)]
        return list(dict.fromkeys(self._one(name, found) for name in self.several))

    def _one(self, name: str, found: Mapping[str, Sequence[Placed]]) -> Placed:
        placed = found.get(name, ())
        if len(placed) == 1:
            return placed[0]
        said = f"Value '{truncated(name)}' for '{truncated(self.column)}'"
        if not placed:
            raise UnusableCategories(
                f"{said} is no category: expected its id, its external key, or its path, such as"
                " 'catalog-alias/category/category'"
            )
        shown = ", ".join(f"'{truncated(each.id)}'" for each in placed[:IDS_NAMED_MAX])
        more = " and others" if len(placed) > IDS_NAMED_MAX else ""
        raise UnusableCategories(f"{said} is the path of several categories: {shown}{more}")


def categories_in(column: str, cell: Any, *, typed: bool) -> NamedCategories | None:
    """What a cell says, None for an empty one; raises `UnusableCategories`.

    `typed` is whether it is a member of a row in JSON, which may be an array.
    """
    if cell is None or cell == "":
        return None
    if isinstance(cell, list) and typed:
        return _checked(NamedCategories(column, [_name(column, item) for item in cell]))
    text = _name(column, cell)
    if text == CLEAR:
        return NamedCategories(column, ())
    text = unescaped(text) if typed else unguarded(text)
    if text.startswith("["):
        several = _array(text)
        if several is not None:
            return _checked(NamedCategories(column, [_name(column, item) for item in several]))
    if SEPARATOR not in text:
        return _checked(NamedCategories(column, [text]))
    parts = [part.strip() for part in text.split(SEPARATOR)]
    return _checked(NamedCategories(column, parts, whole=text))


def _name(column: str, said: Any) -> str:
    if isinstance(said, (int, float)) and not isinstance(said, bool):
        # A key that looks like a number, as spreadsheets and other programs write it.
        return orjson.dumps(said).decode()
    if isinstance(said, str):
        return said
    raise UnusableCategories(
        f"Value for '{truncated(column)}' must be names of categories, got {js_type(said)}"
    )


def _array(text: str) -> list[Any] | None:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, list) else None


def _checked(named: NamedCategories) -> NamedCategories:
    if len(named.several) > CATEGORIES_MAX:
        raise UnusableCategories(
            f"Value for '{truncated(named.column)}' must have at most {CATEGORIES_MAX} categories,"
            f" got {len(named.several)}"
        )
    for name in named.several:
        if name == "" or "\x00" in name:
            raise UnusableCategories(
                f"Value for '{truncated(named.column)}' must be names of categories, got"
                f" '{truncated(name)}' among them"
            )
    return named

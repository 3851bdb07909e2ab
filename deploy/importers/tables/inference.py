"""Decides what type each column has, from what most of its values are.

What most values are is expected; the others are told in the report. So a column of numbers stays
one although a few of its cells say "12 mm".
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Literal

from deploy.importers.tables.profile import Column, Profile
from deploy.importers.tables.reading import Form

Type = Literal["number", "text", "boolean", "option", "complex"]

MOST = 0.9
SEVERAL_FROM = 0.01
"""The share of lists from which an attribute takes several values."""
_OPTIONS_MAX = 2_000
_FEW = 12
_REPEATS, _REPEATS_OF_FEW = 5, 2
_TITLES = ("name", "title", "product name", "product_name", "bezeichnung")
_CHANGING = re.compile(
    r"price|cost|msrp|stock|qty|quantity|availab|rating|review|updated|modified", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class ColumnType:
    """What a column becomes."""

    category: str
    name: str
    code: str
    """Of its attribute: columns with the same one share it."""
    type: Type
    several: bool = False
    in_key: bool = True
    """Whether a row with another value is another record."""


Types = dict[tuple[str, str], ColumnType]


def title_of(names: list[str]) -> str:
    """The column that a row cannot do without; empty if there is none."""
    return next((one for one in names if one.casefold() in _TITLES), "")


def infer(profile: Profile) -> Types:
    """The type of each column."""
    found: Types = {}
    for columns in profile.by_name():
        basic: dict[str, tuple[Type, bool]] = {
            column.category: _basic(column) for column in columns
        }
        texts = [column for column in columns if basic[column.category][0] == "text"]
        is_title = bool(title_of([columns[0].name]))
        if texts and not is_title and _are_options(texts):
            for column in texts:
                basic[column.category] = ("option", basic[column.category][1])
        is_shared = _agree(columns, basic)
        shape = next((basic[one.category] for one in columns if one.filled), ("text", False))
        for column in columns:
            kind, several = shape if is_shared else basic[column.category]
            code = column.name if is_shared else f"{column.category}.{column.name}"
            in_key = not _CHANGING.search(column.name)
            key = (column.category, column.name)
            found[key] = ColumnType(*key, code, kind, several, in_key)
    keys: dict[str, str] = {}
    for (category, name), column in profile.columns.items():
        if column.is_key:
            keys.setdefault(category, name)
    # In the order of the files, which is that of people.
    return {
        (category, name): replace(found[category, name], in_key=keys[category] == name)
        if category in keys
        else found[category, name]
        for category, name in profile.columns
    }


def _basic(column: Column) -> tuple[Type, bool]:
    """The type, where options are texts, and whether it takes several values."""
    forms, filled = column.forms, column.filled
    if not filled:
        return "text", False
    most = MOST * filled
    lists = forms[Form.NUMBERS] + forms[Form.TEXTS]
    several = lists >= max(1, SEVERAL_FROM * filled)
    if forms[Form.BOOLEAN] >= most:
        return "boolean", False
    if forms[Form.NUMBER] + forms[Form.NUMBERS] >= most and column.long_numbers < most:
        return "number", several
    if forms[Form.OBJECT] >= most:
        return "complex", False
    return "text", several


def _are_options(columns: list[Column]) -> bool:
    """Whether few texts come again and again, in all categories together."""
    if any(column.is_free_text for column in columns):
        return False
    labels = set().union(*(column.labels.keys() for column in columns))
    uses = sum(spellings.total() for column in columns for spellings in column.labels.values())
    repeats = _REPEATS_OF_FEW if len(labels) <= _FEW else _REPEATS
    return bool(labels) and len(labels) <= _OPTIONS_MAX and uses >= repeats * len(labels)


def _agree(columns: list[Column], basic: dict[str, tuple[Type, bool]]) -> bool:
    """Whether columns that are called alike mean the same."""
    filled = [column for column in columns if column.filled]
    if len({basic[column.category] for column in filled or columns}) > 1:
        return False
    if not filled or basic[filled[0].category][0] != "option":
        return True
    # A colour is a colour everywhere, but a type of chairs is none of lamps.
    users: dict[str, int] = defaultdict(int)
    for column in filled:
        for label in column.labels:
            users[label] += 1
    return len(filled) == 1 or all(
        any(users[label] > 1 for label in column.labels) for column in filled
    )

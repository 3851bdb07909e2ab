"""Pure rules of the tree: paths, moves, and the nested form of the answer.

A path is the codes of a category and of those above it, from the top down. Each code has the same
length and is given once in a catalog. So what is below a category are the paths that begin with its
own, which an index finds as one range; and a cycle is seen without reading the tree
(docs/adr/0047).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from records_service.catalogs.categories.model import DEPTH_MAX, Category
from shared.database import Record
from shared.errors import ValidationError, truncated
from shared.http import to_json

_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuv"
_BITS: Final = 5
CODE_LENGTH: Final = 5
CODES_MAX: Final = 1 << (_BITS * CODE_LENGTH)
"""How many categories a catalog can have had, the deleted ones included: 33 million."""
AFTER_ALL: Final = "~"
"""Sorts after every character of a code: `path || '~'` is the end of what is below a path."""


def code(number: int) -> str:
    """The code of this number, counted from 0; codes sort like their numbers."""
    return "".join(
        _ALPHABET[(number >> (_BITS * place)) & (len(_ALPHABET) - 1)]
        for place in reversed(range(CODE_LENGTH))
    )


def depth(path: str) -> int:
    """The level of a category; 1 is the top."""
    return len(path) // CODE_LENGTH


def check_move(category: Category, parent: Category | None, levels: int) -> None:
    """Raise `ValidationError` for a parent that is the category itself or below it, or too deep.

    `levels` is how many levels the branch of the category has, itself included.
    """
    if parent is None:
        return
    if parent.path.startswith(category.path):
        raise ValidationError.at(
            "/parentId",
            f"Category '{truncated(category.id)}' cannot be below itself: expected a category"
            f" outside of its branch, got '{truncated(parent.id)}'",
        )
    check_depth(depth(parent.path) + levels)


def check_depth(levels: int) -> None:
    """Raise `ValidationError` for more levels than a tree may have."""
    if levels > DEPTH_MAX:
        raise ValidationError.at(
            "/parentId", f"A tree has at most {DEPTH_MAX} levels, got {levels}"
        )


def nested(rows: Iterable[Record]) -> bytes:
    """The tree in JSON: the categories at the top, each with `children`, all in order.

    Rows have the columns of a category, with `body` as text.
    """
    nodes: dict[str, dict[str, Any]] = {}
    for row in rows:
        category = Category(**{**row, "body": orjson.loads(row["body"])})
        nodes[category.id] = {**category.to_public(), "children": []}
    top: list[dict[str, Any]] = []
    for node in sorted(nodes.values(), key=_place):
        parent = nodes.get(node["parentId"])
        (top if parent is None else parent["children"]).append(node)
    return to_json(top)


def _place(node: Mapping[str, Any]) -> tuple[float, str, str]:
    return node["sortOrder"], node["name"], node["id"]

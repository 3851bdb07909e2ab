"""The grammar of target fields: `title`, `seo.title`, `variants[0].price`.

A path is made of names with dots between them; a name may be followed by an index in brackets. A
name has any characters but dots, brackets and control characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

Step: TypeAlias = str | int
Path: TypeAlias = tuple[Step, ...]
"""Names of members and indexes of arrays, from the top down."""

PATH_LENGTH_MAX: Final = 255
STEPS_MAX: Final = 10
INDEX_MAX: Final = 99
VARIANTS: Final = "variants"
_PART: Final = re.compile(r"([^.\[\]\x00-\x1f]+)((?:\[[0-9]{1,4}\])*)")
_INDEX: Final = re.compile(r"\[([0-9]+)\]")


class UnusablePath(ValueError):
    """A text is no path; the message says why."""


def parse(text: str) -> Path:
    """The steps of a path; raises `UnusablePath`."""
    steps: list[Step] = []
    for part in text.split("."):
        found = _PART.fullmatch(part)
        if found is None or found[1] != found[1].strip():
            raise UnusablePath("expected a path such as 'title' or 'variants[0].price'")
        steps += [found[1], *(int(index) for index in _INDEX.findall(found[2]))]
    if len(steps) > STEPS_MAX:
        raise UnusablePath(f"expected at most {STEPS_MAX} steps")
    if any(isinstance(step, int) and step > INDEX_MAX for step in steps):
        raise UnusablePath(f"expected indexes up to {INDEX_MAX}")
    return tuple(steps)


def conflicts(paths: Sequence[Path]) -> Iterator[tuple[int, int]]:
    """(place, earlier place) of paths that cannot both have a value.

    The same path twice; one that is a part of another (`a` and `a.b`); one that takes for an object
    what another takes for an array (`a.b` and `a[0]`).
    """
    root: dict[Step, Any] = {}
    for place, path in enumerate(paths):
        node, other = root, None
        for depth, step in enumerate(path):
            if node and isinstance(next(iter(node)), int) is not isinstance(step, int):
                other = _first(node)
                break
            entry = node.setdefault(step, {"place": None, "below": {}})
            if entry["place"] is not None:
                other = entry["place"]
                break
            if depth == len(path) - 1:
                if entry["below"]:
                    other = _first(entry["below"])
                else:
                    entry["place"] = place
                break
            node = entry["below"]
        if other is not None:
            yield place, other


def _first(node: Mapping[Step, Any]) -> int:
    entry = next(iter(node.values()))
    place: int | None = entry["place"]
    return _first(entry["below"]) if place is None else place


def put(target: dict[str, Any], path: Path, value: Any) -> None:
    """Put a value where the path says; what is on the way is made, gaps of an array are null."""
    node: Any = target
    for step, following in zip(path, (*path[1:], None), strict=True):
        if isinstance(step, int):
            node += [None] * (step + 1 - len(node))
            held = node[step]
        else:
            held = node.get(step)
        if following is None:
            node[step] = value
        elif held is None:
            held = [] if isinstance(following, int) else {}
            node[step] = held
        node = held


class Absent:
    """There is nothing at a path."""


ABSENT: Final = Absent()


def get(source: Any, path: Path) -> Any:
    """What an object has at the path, or `ABSENT`."""
    node = source
    for step in path:
        if isinstance(step, int):
            if not isinstance(node, list) or step >= len(node):
                return ABSENT
        elif not isinstance(node, Mapping) or step not in node:
            return ABSENT
        node = node[step]
    return node

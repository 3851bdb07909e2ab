"""Which categories some names mean: an id, an external key, or a path.

    ctg-jackets                   the id
    Default Category/Jackets      the external key
    webshop/clothing/jackets      the alias of the catalog, then the alias or name of each category

An id comes before an external key, and that before a path. What lies in catalogs that the caller
may not view does not exist.

Source of the rule: the page about importing and exporting.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from records_service.catalogs.categories import name_store
from records_service.catalogs.categories.model import DEPTH_MAX
from records_service.catalogs.categories.name_store import Placed, Step
from records_service.permissions.rules import Role
from shared.database import Conn
from shared.process.offload import in_thread

SEPARATOR: Final = "/"


async def named(
    conn: Conn, workspace_id: str, names: AbstractSet[str], role: Role | None
) -> dict[str, Sequence[Placed]]:
    """Name -> the categories that it means: none, one, or several with the same path.

    One statement, and if names may be paths, another for each level.
    """
    found: dict[str, Sequence[Placed]] = {}
    for placed, key in await name_store.by_id_or_key(conn, workspace_id, names, role):
        if key is not None:
            found.setdefault(key, [placed])
        found[placed.id] = [placed]
    await _follow(conn, workspace_id, await in_thread(_Paths, names - found.keys()), role, found)
    return found


async def _follow(
    conn: Conn,
    workspace_id: str,
    paths: _Paths,
    role: Role | None,
    found: dict[str, Sequence[Placed]],
) -> None:
    """Put what is at the ends of these paths to what is found."""
    while paths.above:
        if paths.level == 1:
            steps = await name_store.at_the_top(conn, workspace_id, paths.above, paths.words, role)
        else:
            steps = await name_store.directly_below(conn, workspace_id, paths.above, paths.words)
        found |= await in_thread(paths.go, steps)


class _Paths:
    """Names that may be paths, all followed at once, level by level.

    Names whose ways have led to the same categories are one group: a thousand categories that are
    called the same are looked through once, and not for each name that goes on from them.
    """

    def __init__(self, names: Collection[str]) -> None:
        self.level = 1
        self._here: dict[frozenset[str], list[tuple[str, Sequence[str]]]] = defaultdict(list)
        for name in names:
            words = name.split(SEPARATOR)
            if 1 < len(words) <= DEPTH_MAX + 1:
                self._here[frozenset(words[:1])].append((name, words))
        self._look()

    def _look(self) -> None:
        self.above: set[str] = {one for places in self._here for one in places}
        """Below which categories the next ones are; below which catalogs on the first level."""
        self.words = {words[self.level] for group in self._here.values() for _, words in group}
        """What the next ones are called."""

    def go(self, steps: Sequence[Step]) -> dict[str, Sequence[Placed]]:
        """Go on by what is directly below; the names that end there, and what they mean."""
        below: dict[str, dict[str, list[Placed]]] = defaultdict(lambda: defaultdict(list))
        for step in steps:
            for word in {step.alias or step.name, step.name}:
                below[step.above][word].append(Placed(step.id, step.catalog_id))
        ends: dict[str, Sequence[Placed]] = {}
        further: dict[frozenset[str], list[tuple[str, Sequence[str]]]] = defaultdict(list)
        for places, group in self._here.items():
            by_word: dict[str, list[tuple[str, Sequence[str]]]] = defaultdict(list)
            for one in group:
                by_word[one[1][self.level]].append(one)
            for word, reached in _reached(places, by_word.keys(), below).items():
                reached.sort()
                ids = frozenset(one.id for one in reached)
                for name, words in by_word[word]:
                    if self.level == len(words) - 1:
                        ends[name] = reached
                    else:
                        further[ids].append((name, words))
        self._here = further
        self.level += 1
        self._look()
        return ends


def _reached(
    places: Collection[str],
    words: AbstractSet[str],
    below: Mapping[str, Mapping[str, Sequence[Placed]]],
) -> dict[str, list[Placed]]:
    """Word -> what is called so directly below one of these places."""
    reached: dict[str, list[Placed]] = defaultdict(list)
    for place in places:
        called = below.get(place, {})
        for word in words & called.keys():
            reached[word] += called[word]
    return reached

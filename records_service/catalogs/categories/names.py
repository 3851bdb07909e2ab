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
from typing import Final

from records_service.catalogs.categories import name_store
from records_service.catalogs.categories.model import DEPTH_MAX
from records_service.catalogs.categories.name_store import Placed
from records_service.permissions.rules import Role
from shared.database import Conn

SEPARATOR: Final = "/"


async def named(
    conn: Conn, workspace_id: str, names: Collection[str], role: Role | None
) -> dict[str, Sequence[Placed]]:
    """Name -> the categories that it means: none, one, or several with the same path.

    One statement, and if names may be paths, another for each level.
    """
    found: dict[str, Sequence[Placed]] = {}
    for placed, key in await name_store.by_id_or_key(conn, workspace_id, names, role):
        if key is not None:
            found.setdefault(key, [placed])
        found[placed.id] = [placed]
    paths = {
        name: words
        for name in names
        if name not in found and 1 < len(words := name.split(SEPARATOR)) <= DEPTH_MAX + 1
    }
    return found | await _at_the_ends(conn, workspace_id, paths, role)


async def _at_the_ends(
    conn: Conn, workspace_id: str, paths: Mapping[str, Sequence[str]], role: Role | None
) -> dict[str, Sequence[Placed]]:
    """The categories at the end of each path; all paths are followed at once."""
    here: dict[str, set[str]] = {name: {words[0]} for name, words in paths.items()}
    ends: dict[str, Sequence[Placed]] = {}
    for level in range(1, DEPTH_MAX + 1):
        above = {one for places in here.values() for one in places}
        if not above:
            break
        words = {paths[name][level] for name in here}
        if level == 1:
            steps = await name_store.at_the_top(conn, workspace_id, above, words, role)
        else:
            steps = await name_store.directly_below(conn, workspace_id, above, words)
        called: dict[tuple[str, str], list[Placed]] = defaultdict(list)
        for step in steps:
            for word in {step.alias or step.name, step.name}:
                called[step.above, word].append(Placed(step.id, step.catalog_id))
        further: dict[str, set[str]] = {}
        for name, places in here.items():
            word = paths[name][level]
            reached = [one for place in places for one in called.get((place, word), ())]
            if level == len(paths[name]) - 1:
                ends[name] = sorted(reached)
            else:
                further[name] = {one.id for one in reached}
        here = further
    return ends

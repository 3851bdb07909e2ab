"""Maps each category tree to a catalog: its root becomes the catalog, all below it categories."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from deploy.importers.akeneo.reading import SourceCategory
from deploy.importers.akeneo.sources import Sources
from deploy.importers.csv_rows import key_of
from deploy.importers.plan import Kind, ModelObject, Problem


def catalogs_of(sources: Sources) -> Iterator[ModelObject]:
    """The catalogs, then the categories, each after the one above it."""
    below: dict[str, list[SourceCategory]] = defaultdict(list)
    roots = []
    for category in sources.catalogue.categories.values():
        if category.parent:
            below[key_of(category.parent)].append(category)
        else:
            roots.append(category)
    for root in roots:
        body = {"id": sources.names.catalog(root.code), **_body(sources, root)}
        yield ModelObject(Kind.CATALOGS, root.code, body)
    reached = {key_of(root.code) for root in roots}
    for root in roots:
        waiting = [root]
        while waiting:
            parent = waiting.pop()
            children = below[key_of(parent.code)]
            for place, category in enumerate(children):
                reached.add(key_of(category.code))
                yield _category(sources, root, parent, category, place)
            waiting += reversed(children)
    for key, category in sources.catalogue.categories.items():
        if key not in reached:
            message = f"its parent '{category.parent}' leads to no root of a tree"
            sources.ledger.problems.append(
                Problem(
                    Kind.CATEGORIES,
                    category.code,
                    message,
                    file="categories.csv",
                    line=category.line,
                )
            )


def category_ids(sources: Sources) -> dict[str, str]:
    """Code in lower case -> category id; an empty text for the root of a tree."""
    return {
        key: sources.names.category(category.code) if category.parent else ""
        for key, category in sources.catalogue.categories.items()
    }


def _category(
    sources: Sources, root: SourceCategory, parent: SourceCategory, one: SourceCategory, place: int
) -> ModelObject:
    names = sources.names
    body = {
        "id": names.category(one.code),
        "catalogId": names.catalog(root.code),
        "parentId": None if parent is root else names.category(parent.code),
        "sortOrder": place,
        **_body(sources, one),
    }
    return ModelObject(Kind.CATEGORIES, one.code, body)


def _body(sources: Sources, one: SourceCategory) -> dict[str, Any]:
    return {
        "alias": sources.names.alias(one.code),
        "name": sources.label(one.code, one.labels),
        **sources.naming(one.code, one.labels),
    }

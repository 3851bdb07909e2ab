"""Plans the data model: dimensions, option lists, attributes, workflows, schemas.

Where Sigma has a place for something it goes there; where it has none, the thing is counted under
`left`, refused with a reason, or told in a note. Nothing disappears.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from deploy.importers.akeneo.attributes import attributes_of
from deploy.importers.akeneo.catalogs import catalogs_of
from deploy.importers.akeneo.dimensions import dimensions_of
from deploy.importers.akeneo.families import families_of
from deploy.importers.akeneo.lists import Lists, lists_of
from deploy.importers.akeneo.reading import Catalogue
from deploy.importers.akeneo.sources import Ledger, Sources
from deploy.importers.plan import ModelObject


@dataclass(frozen=True, slots=True)
class Model:
    """The objects in the order in which they must be created, and what products need of them."""

    objects: tuple[ModelObject, ...]
    lists: Lists
    ledger: Ledger


class _Labelled(Protocol):
    @property
    def labels(self) -> Mapping[str, str]: ...


def model_of(sources: Sources) -> Model:
    """The whole model; `sources.ledger` tells what is not in it."""
    lists = lists_of(sources)
    objects = (
        *dimensions_of(sources),
        *lists.objects,
        *attributes_of(sources),
        *families_of(sources),
        *catalogs_of(sources),
    )
    _count_what_is_left(sources.catalogue, sources.ledger)
    return Model(objects, lists, sources.ledger)


def _count_what_is_left(catalogue: Catalogue, ledger: Ledger) -> None:
    families = catalogue.families.values()
    labelled: tuple[_Labelled, ...] = (
        *catalogue.attributes.values(),
        *catalogue.groups.values(),
        *(option for options in catalogue.options.values() for option in options),
        *families,
        *catalogue.channels,
        *catalogue.association_types.values(),
        *catalogue.product_groups.values(),
        *catalogue.categories.values(),
    )
    ledger.left.update(
        {
            "labels in locales that no channel uses": sum(
                locale not in catalogue.locales for thing in labelled for locale in thing.labels
            ),
            "families' choice of an attribute as label": sum(
                bool(family.attribute_as_label) for family in families
            ),
            "families' choice of an attribute as image": sum(
                bool(family.attribute_as_image) for family in families
            ),
        }
    )
    if catalogue.unread_files:
        ledger.notes.append(f"Not read: {', '.join(catalogue.unread_files)}")

"""Product models and family variants: what several products of Akeneo have in common.

A family variant says which attributes distinguish the products below a model, on one or two levels.
The export repeats what a product inherits in its own row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from deploy.importers.csv_rows import Row, key_of

MODELS = "product_models.csv"
LEVELS_MAX = 2
"""Of variants below a root model: a second model, and products."""


@dataclass(frozen=True, slots=True)
class FamilyVariant:
    """How the products of a family vary."""

    code: str
    family: str
    attributes: tuple[frozenset[str], ...]
    """For each level the attributes that its variants have themselves, in lower case."""


@dataclass(frozen=True, slots=True)
class ProductModel:
    """One row of product_models.csv."""

    code: str
    parent: str
    family_variant: str
    row: Row


def family_variants_of(rows: Iterable[Row]) -> dict[str, FamilyVariant]:
    """By code in lower case."""
    found = {}
    for row in rows:
        levels = []
        for level in range(1, LEVELS_MAX + 1):
            own = [*row.codes(f"variant-axes_{level}"), *row.codes(f"variant-attributes_{level}")]
            if own:
                levels.append(frozenset(map(key_of, own)))
        code = row.get("code")
        found[key_of(code)] = FamilyVariant(code, row.get("family"), tuple(levels))
    return found


def product_models_of(rows: Iterable[Row]) -> dict[str, ProductModel]:
    """By code in lower case; each root before the models below it."""
    models = [
        ProductModel(row.get("code"), row.get("parent"), row.get("family_variant"), row)
        for row in rows
    ]
    models.sort(key=lambda model: bool(model.parent))
    return {key_of(model.code): model for model in models}


def root_of(model: ProductModel, models: Mapping[str, ProductModel]) -> ProductModel | None:
    """The model at the top, or None where a parent is missing or the models form a circle."""
    for _ in range(LEVELS_MAX):
        if not model.parent:
            return model
        above = models.get(key_of(model.parent))
        if above is None:
            return None
        model = above
    return None

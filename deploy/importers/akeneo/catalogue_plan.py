"""Combines reading, survey, data model and products into the plan of an import."""

from __future__ import annotations

from pathlib import Path

from deploy.importers.akeneo.modelling import model_of
from deploy.importers.akeneo.products import Products
from deploy.importers.akeneo.reading import PRODUCTS, read_catalogue
from deploy.importers.akeneo.sources import Settings, Sources
from deploy.importers.akeneo.survey import survey
from deploy.importers.plan import Plan


def plan_of(folder: Path, settings: Settings) -> Plan:
    """What Sigma should hold instead of this catalogue, or `UnreadableCatalogue`."""
    catalogue = read_catalogue(folder)
    found = survey(catalogue)
    sources = Sources(catalogue, found, settings)
    model = model_of(sources)
    return Plan(
        name=folder.resolve().name,
        model=model.objects,
        records=Products(sources, model.lists).records,
        record_count=found.records,
        variant_count=found.variants,
        filled_cells=found.filled_cells,
        left=+model.ledger.left,
        notes=tuple(model.ledger.notes),
        problems=tuple(model.ledger.problems),
        records_file=PRODUCTS,
    )

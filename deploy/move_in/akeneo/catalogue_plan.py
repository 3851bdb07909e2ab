"""Puts reading, survey, model and products together into the plan of a move."""

from __future__ import annotations

from pathlib import Path

from deploy.move_in.akeneo.modelling import Settings, model_of
from deploy.move_in.akeneo.products import Products
from deploy.move_in.akeneo.reading import PRODUCTS, read_catalogue
from deploy.move_in.akeneo.survey import survey
from deploy.move_in.plan import Plan


def plan_of(folder: Path, settings: Settings) -> Plan:
    """What Sigma should hold instead of this catalogue, or `UnreadableCatalogue`."""
    catalogue = read_catalogue(folder)
    found = survey(catalogue)
    model = model_of(catalogue, found, settings)
    return Plan(
        name=folder.resolve().name,
        model=model.objects,
        records=Products(catalogue, found, model, settings).records,
        record_count=found.products,
        filled_cells=found.filled_cells,
        left=+model.left,
        notes=model.notes,
        problems=model.problems,
        records_file=PRODUCTS,
    )

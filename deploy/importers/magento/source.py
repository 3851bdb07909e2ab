"""Magento as a kind of source."""

from __future__ import annotations

import argparse
from pathlib import Path

from deploy.importers.magento.modelling import Modelling
from deploy.importers.magento.products import Products
from deploy.importers.magento.survey import exports_in, survey
from deploy.importers.names import Names
from deploy.importers.plan import Plan
from deploy.importers.source import Source, add_media_option


def plan_of(folder: Path, names: Names, media_base_url: str | None = None) -> Plan:
    """What Sigma should hold instead of this export, or `UnreadableCatalogue`."""
    found = survey(folder)
    modelling = Modelling(found, names)
    model = modelling.objects()
    return Plan(
        name=folder.resolve().name,
        model=tuple(model),
        records=Products(found, modelling, names, media_base_url).records,
        record_count=found.rows - len(found.parents),
        variant_count=len(found.parents),
        filled_cells=found.filled_cells,
        notes=tuple(modelling.notes),
    )


def _plan_of(folder: Path, asked: argparse.Namespace) -> Plan:
    return plan_of(folder, Names(asked.prefix), asked.media_base_url)


MAGENTO = Source(
    name="magento",
    title="a product export of Magento 2 as CSV",
    recognizes=lambda folder: next(exports_in(folder), None) is not None,
    plan_of=_plan_of,
    add_options=add_media_option,
)

"""JSON Lines with JSON Schemas as a kind of source."""

from __future__ import annotations

import argparse
from pathlib import Path

from deploy.importers.names import Names
from deploy.importers.opendb.database import Database
from deploy.importers.opendb.modelling import Modelling
from deploy.importers.plan import Plan
from deploy.importers.source import Source


def plan_of(folder: Path, names: Names) -> Plan:
    """What Sigma should hold instead of this database, or `UnreadableCatalogue`."""
    database = Database.read(folder)
    modelling = Modelling(database, names)
    return Plan(
        name=folder.resolve().name,
        model=tuple(modelling.objects()),
        records=modelling.records,
        record_count=database.records,
        filled_cells=database.filled,
        notes=tuple(database.notes),
    )


def _plan_of(folder: Path, asked: argparse.Namespace) -> Plan:
    return plan_of(folder, Names(asked.prefix))


OPENDB = Source(
    name="opendb",
    title="JSON Lines with a JSON Schema for each category",
    recognizes=lambda folder: any((folder / "schemas").glob("*.schema.json")),
    plan_of=_plan_of,
)

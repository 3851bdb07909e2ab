"""Tables without keys and types as a kind of source."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from deploy.importers.csv_rows import UnreadableCatalogue
from deploy.importers.names import Names
from deploy.importers.plan import Plan
from deploy.importers.source import Source
from deploy.importers.tables.assessment import Assessment, Rows, assess
from deploy.importers.tables.files import find_tables
from deploy.importers.tables.inference import Types, infer
from deploy.importers.tables.mapping import Mapper, titles_of
from deploy.importers.tables.model_file import read_model, write_model
from deploy.importers.tables.modelling import Modelling, options_of
from deploy.importers.tables.profile import Profile
from deploy.importers.tables.quality import Quality, write_quality


def plan_of(
    folder: Path,
    names: Names,
    *,
    model: Path | None = None,
    quality: Path | None = None,
) -> Plan:
    """What Sigma should hold of these tables, or `UnreadableCatalogue`.

    `model` is read if it exists, else it is written; `quality` is the folder of the steward's
    report, written when the import has ended.
    """
    tables = find_tables(folder)
    if not tables:
        raise UnreadableCatalogue(f"{folder} has no CSV or JSON files, nor an archive of them")
    profile = Profile.of(tables)
    types, notes = _types(profile, model)
    mapper = Mapper(types, titles_of(types), options_of(types, profile))
    assessment = assess(tables, mapper, profile)
    modelling = Modelling(assessment, names)
    rows = assessment.rows.values()
    name = folder.resolve().name
    return Plan(
        name=name,
        model=tuple(modelling.objects()),
        records=modelling.records,
        record_count=sum(one.records + one.refused for one in rows),
        filled_cells=assessment.filled,
        notes=(*notes, *_notes(assessment, quality)),
        finish=None
        if quality is None
        else partial(write_quality, quality, Quality(name, assessment, names)),
    )


def _types(profile: Profile, model: Path | None) -> tuple[Types, list[str]]:
    """The types that the model file says, and inferred ones for columns that it does not name."""
    inferred = infer(profile)
    if model is None:
        return inferred, []
    if not model.exists():
        write_model(model, inferred)
        return inferred, [f"The types of all columns were written to {model}: correct them there"]
    said = read_model(model)
    new = [key for key in inferred if key not in said]
    types = {key: said.get(key, one) for key, one in inferred.items()}
    notes = [f"{model} does not name {name} of {category}" for category, name in new]
    return types, notes


def _notes(assessment: Assessment, quality: Path | None) -> list[str]:
    read, records, repeated, refused = (
        sum(counts) for counts in zip(*map(_sums, assessment.rows.values()), strict=True)
    )
    parts = f"{records:,} as records, {repeated:,} as exact duplicates of them, {refused:,} refused"
    notes = [f"Rows read: {read:,} = {parts}"]
    counts = assessment.findings.counts()
    if counts:
        said = ", ".join(f"{count:,} {concern}" for concern, count in counts.most_common())
        where = "" if quality else "; --quality FOLDER writes a report on them"
        notes.append(f"For a data steward: {said}{where}")
    return notes


def _sums(rows: Rows) -> tuple[int, int, int, int]:
    return rows.all, rows.records, rows.repeated, rows.refused


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--quality",
        type=Path,
        metavar="FOLDER",
        help="write a report for data stewards: quality.md to read, findings.csv to work off",
    )
    parser.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        help="CSV file with the types of the columns: written if it does not exist, else followed",
    )


def _plan_of(folder: Path, asked: argparse.Namespace) -> Plan:
    return plan_of(folder, Names(asked.prefix), model=asked.model, quality=asked.quality)


TABLES = Source(
    name="tables",
    title="CSV or JSON tables, one for each category",
    recognizes=lambda folder: bool(find_tables(folder)),
    plan_of=_plan_of,
    add_options=_add_options,
)

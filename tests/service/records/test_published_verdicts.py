"""Broken records are refused by us where the JSON Schemas of their own database refuse them.

The records are those of an invented database, and of the published one where it is there.
"""

from __future__ import annotations

import gzip
import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest

from deploy.importers.names import Names
from deploy.importers.opendb.database import Database
from deploy.importers.opendb.modelling import Modelling
from deploy.importers.plan import Kind
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.servers import ROOT
from tests.service.records.breaking import ADDED, BREAKS, REMOVED, Place, broken, types_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

REAL = Path(
    os.environ.get("SIGMA_OPENDB_DATA") or ROOT.parent / "shared" / "data" / "buildcores-opendb"
)
PATHS = {
    Kind.OPTION_LISTS: "/option-lists",
    Kind.ATTRIBUTES: "/attributes",
    Kind.SCHEMAS: "/schemas",
}
ABOUT = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "codes": {"type": ["array", "null"], "items": {"type": "string"}},
        "made": {
            "type": ["object", "null"],
            "required": ["year"],
            "properties": {"year": {"type": "number"}, "by": {"type": ["string", "null"]}},
        },
    },
}
SCHEMA = {
    "type": "object",
    "required": ["about"],
    "properties": {
        "about": ABOUT,
        "litres": {"type": ["number", "null"]},
        "whistles": {"type": ["boolean", "null"]},
        "plug": {"type": ["string", "null"], "enum": ["Type C", "Type G", None]},
        "colours": {"type": "array", "items": {"type": "string", "enum": ["Red", "Blue"]}},
        "parts": {
            "type": ["array", "null"],
            "items": {"type": "object", "properties": {"weight": {"type": "number"}}},
        },
    },
}
RECORD = {
    "about": {"name": "Whistler", "codes": ["a", "b"], "made": {"year": 1999, "by": "Us"}},
    "litres": 1.5,
    "whistles": True,
    "plug": "Type G",
    "colours": ["Red"],
    "parts": [{"weight": 2}, {"weight": 3}],
}


def invented(folder: Path) -> Path:
    (folder / "schemas").mkdir()
    (folder / "products").mkdir()
    (folder / "schemas" / "Kettle.schema.json").write_text(json.dumps(SCHEMA))
    with gzip.open(folder / "products" / "Kettle.jsonl.gz", "wt") as file:
        for number in range(20):
            file.write(json.dumps({"_file": f"k{number}.json", **RECORD}) + "\n")
    return folder


def excused(kind: str, place: Place) -> str | None:
    """Why we judge otherwise than the schema, where we mean to; `None` where we must not."""
    if kind == ADDED:
        # JSON Schema allows what it does not name. Here it would be a value of no attribute.
        return "what nothing declares is refused"
    if kind in (REMOVED, "null") and place.depth == 0:
        # A draft may lack what it needs later: completeness tells it, and gates hold it.
        return "what a record lacks is told by its completeness"
    if kind == "null" or (kind == REMOVED and "null" in types_of(place.schema)):
        # There is no null: nothing is there, or in a list there is no such element.
        return "null is no value"
    if kind == "text for a list" and "string" in types_of(place.schema.get("items", {})):
        return "one value stands for a list of one"
    return None


async def compare(workspace: RecordsWorkspace, folder: Path, wanted: int) -> Counter[str]:
    """How many were broken in each way; the test fails where the verdicts differ unexcused."""
    database = Database.read(folder)
    modelling = Modelling(database, Names())
    for one in modelling.objects():
        (await workspace.admin.post(PATHS[one.kind], dict(one.body))).ok()
    schemas = {
        category: orjson.loads((folder / "schemas" / f"{category}.schema.json").read_bytes())
        for category in database.categories
    }
    validators = {category: jsonschema_rs.validator_for(each) for category, each in schemas.items()}
    chance = random.Random(8)
    records = list(database.lines())
    rows: list[dict[str, Any]] = []
    judged: list[tuple[str, str, Place, bool]] = []
    kinds = [*BREAKS, REMOVED, ADDED]
    tries = 0
    while len(rows) < wanted and tries < 100 * wanted:
        kind = kinds[tries % len(kinds)]
        tries += 1
        category, key, _, record = chance.choice(records)
        made = broken(kind, record, schemas[category], chance)
        if made is None:
            continue
        content, place = made
        values = {
            alias: [{"scope": dict(entry.scope), "value": entry.value} for entry in entries]
            for alias, entries in modelling.values(category, content).items()
        }
        rows.append({"schemaId": modelling.names.schema(category), "values": values})
        judged.append((kind, f"{category} {key}", place, validators[category].is_valid(content)))
    answer = await workspace.admin.having({"Prefer": "dry-run"}).post(
        "/records/bulk",
        data=b"\n".join(map(orjson.dumps, rows)),
        headers={"Content-Type": "application/x-ndjson"},
    )
    results = answer.ok()["results"]
    assert len(results) == len(rows) == wanted
    counts: Counter[str] = Counter()
    differ: list[Any] = []
    for (kind, source, place, theirs), result in zip(judged, results, strict=True):
        ours = result["status"] == 201
        counts[kind] += 1
        if ours == theirs:
            counts["alike"] += 1
        elif (why := excused(kind, place)) is not None:
            counts[f"differs: {why}"] += 1
        else:
            differ.append((kind, source, place.step, place.schema, theirs, result))
    assert differ == []
    return counts


async def test_broken_records_are_judged_as_their_own_schema_does(
    workspace: RecordsWorkspace, tmp_path: Path
):
    counts = await compare(workspace, invented(tmp_path), 200)
    assert {*BREAKS, REMOVED, ADDED} <= counts.keys()
    assert counts["alike"] > 150


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the published database is not at {REAL}")
@pytest.mark.slow
async def test_a_thousand_broken_records_of_the_published_database(workspace: RecordsWorkspace):
    counts = await compare(workspace, REAL, 1_000)
    missing = {*BREAKS, REMOVED, ADDED} - counts.keys()
    assert missing <= {"text for a truth"}, counts
    assert counts["alike"] > 850, counts

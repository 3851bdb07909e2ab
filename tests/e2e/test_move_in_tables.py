"""Tables without keys and types go through the public API into a running system, with a report."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.moving_in import ROOT, Mover
from tests.unit.deploy.tables import write_tables

PUBLISHED = ROOT.parent / "shared" / "data" / "pc-part-dataset"
ROWS, REPEATED = 66_778, 2_952
UNCLEAR = {"attribute": "unclear-values", "operator": "isNotEmpty"}


async def mover_of(stack: Any, folder: Path) -> tuple[Mover, Any]:
    workspace = await stack.workspace(record_limit=1_000)
    key = await workspace.api_key(["read", "update-data", "update-model"])
    return Mover(stack, folder, key, "tables"), workspace.admin


async def test_dirty_tables_move_in_with_a_report_and_again_without_harm(stack, tmp_path):
    mover, admin = await mover_of(stack, tmp_path)
    data = tmp_path / "data"
    data.mkdir()
    write_tables(data)
    options = ("--model", str(tmp_path / "model.csv"), "--quality", str(tmp_path / "quality"))
    done = await mover.run(data, *options)
    # Four rows are refused, each with its place; nothing else.
    assert done.code == 1
    assert done.counts("records") == {"created": 55, "refused": 4}
    places = [(one["file"], one["line"]) for one in done.report["problems"]]
    assert sorted(places) == [
        *(("chair.csv", 14), ("chair.csv", 16), ("lamp.json", 13), ("lamp.json", 14))
    ]
    assert done.report["cells"]["imported"] == done.report["cells"]["filled"] - 4
    page = (tmp_path / "quality" / "quality.md").read_text(encoding="utf-8")
    assert "| 55 | are a record each | 55 created |" in page
    assert "| **60** | in all |" in page

    # What a column could not take is found in Sigma, and by the key that the report tells.
    found = (await admin.post("/search", {"criteria": [UNCLEAR]})).ok()["items"]
    assert len(found) == 4
    with (tmp_path / "quality" / "findings.csv").open(encoding="utf-8-sig", newline="") as file:
        (line,) = (one for one in csv.DictReader(file) if one["value"] == "30 EUR")
    params = {"externalKey": line["records"]}
    (ash,) = (await admin.get("/records", params=params)).ok()["items"]
    assert ash["values"]["unclear-values"] == [{"scope": {}, "value": ["price: 30 EUR"]}]

    again = await mover.run(data, *options)
    assert again.code == 1
    assert again.counts("records") == {"unchanged": 55, "refused": 4}
    assert again.counts("attributes") == {"unchanged": 8}
    assert again.counts("option lists") == {"unchanged": 1}
    assert again.report["changes"] == []


@pytest.mark.slow
@pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"the published tables are not at {PUBLISHED}")
async def test_published_tables_are_read_whole_and_their_numbers_add_up(stack, tmp_path):
    mover, _ = await mover_of(stack, tmp_path)
    options = ("--limit", "400", "--quality", str(tmp_path / "quality"))
    done = await mover.run(PUBLISHED, *options)
    assert (done.code, done.report["problems"]) == (0, []), done.text
    assert done.counts("records") == {"created": 400}
    page = (tmp_path / "quality" / "quality.md").read_text(encoding="utf-8")
    sums = [
        [int(one.replace(",", "")) for one in re.findall(r"[\d,]*\d", line)]
        for line in re.findall(r"^([\d,]+ rows? = .*)\.$", page, re.MULTILINE)
    ]
    assert all(read == sum(parts) for read, *parts in sums)
    assert (len(sums), sum(read for read, *_ in sums)) == (25, ROWS)
    assert sum(repeated for _, _, repeated, _ in sums) == REPEATED
    again = await mover.run(PUBLISHED, *options)
    assert (again.code, again.counts("records")) == (0, {"unchanged": 400}), again.text

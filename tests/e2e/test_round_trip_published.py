"""Published catalogues leave in an export and come back in an empty workspace, byte by byte."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.moving_in import ROOT, Mover
from tests.kit.eventually import eventually
from tests.kit.model_copies import copy_model
from tests.kit.sigma import Caller
from tests.service.records.import_files import download, send

DATA = Path(os.environ.get("SIGMA_PUBLISHED_DATA") or ROOT.parent / "shared" / "data")
SETS = {"akeneo": DATA / "akeneo-icecat-demo", "magento": DATA / "magento2-sample-data"}
EXPORT = "/export?variants=true&columns=perScope&format=csv"


async def imported(caller: Caller, file: bytes, **fields: Any) -> dict[str, Any]:
    begun = (await send(caller, file, "export.csv", **fields)).ok()
    address = f"/imports/{begun['id']}"

    async def has_ended() -> bool:
        return (await caller.get(address)).ok()["status"] not in ("queued", "running")

    await eventually(has_ended, within_s=240)
    job: dict[str, Any] = (await caller.get(address)).ok()
    return job


def relations(file: bytes, attributes: list[dict[str, Any]]) -> dict[str, None]:
    """The columns of relations, mapped to nothing."""
    named = {one["alias"] for one in attributes if one["type"] == "relation"}
    header = next(csv.reader(io.StringIO(file.decode(), newline="")))
    return {column: None for column in header if column.partition("[")[0] in named}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SETS)
async def test_a_published_catalogue_is_equal_after_a_round_trip(
    stack: Any, tmp_path: Path, kind: str
):
    data = SETS[kind]
    if not data.is_dir():
        pytest.skip(f"the published catalogue is not at {data}")
    first = await stack.workspace(record_limit=5_000)
    key = await first.api_key(["read", "update-data", "update-model"])
    done = await Mover(stack, tmp_path, key, kind).run(data)
    assert done.report["problems"] == [] or kind == "magento"
    file = await download(key, EXPORT)
    exported = csv.DictReader(io.StringIO(file.decode(), newline=""))
    assert any(row["_categories"] for row in exported)
    again = await imported(key, file)
    rows = again["total"]
    assert (again["status"], again["unchanged"]) == ("succeeded", rows), again

    # The same data model without a record.
    second = await stack.workspace(record_limit=5_000)
    other = await second.api_key(["read", "update-data", "update-model"])
    await copy_model(lambda _: first.admin, lambda _: second.admin)
    unrelated = relations(file, (await first.admin.get("/attributes")).ok())
    made = await imported(other, file, columnMapping=unrelated)
    assert (made["status"], made["created"]) == ("succeeded", rows), made
    related = await imported(other, file)
    assert (related["status"], related["failed"]) == ("succeeded", 0), related
    assert sorted((await download(other, EXPORT)).splitlines()) == sorted(file.splitlines())

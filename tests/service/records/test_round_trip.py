"""What was exported with one column per scope is imported again without a change."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from tests.kit.model_copies import Callers, copy_model, model_of
from tests.kit.records_workspace import RecordsWorkspace
from tests.service.records.import_files import download, errors_of, run

pytestmark = pytest.mark.asyncio(loop_scope="module")

EN, DA, DK = (
    {"dim-language": "seg-en"},
    {"dim-language": "seg-da"},
    {"dim-market": "seg-dk", "dim-language": "seg-da"},
)
TEXTS = [
    *("0017", "1E5", " 7 ", "true", "2024-01-01", "=1+1", "+1", "-0.02", "@x", "\tx", "\rx"),
    *("'=x", "''-x", "'x", r"\N", r"'\N", "|", "a|b", "[1]", "{}", '"', '""', "a,b;c", "a\nb\r\nc"),
    *("å, ø, 漢, 😀", "\u2028", "\u0007", "_x000D_", "_x0041_", "x" * 40_000, "null", "NaN"),
]
KINDS: dict[str, Any] = {
    "number": [0, -0.02, 1e300, 2**62, -5, 0.1],
    "boolean": [True, False],
    "datetime": ["2024-02-29", "2024-02-29T10:00:00Z"],
    "media": ["https://example.com/a|b.png", {"url": "https://example.com/", "alt": "=1"}],
    "option": ["val-red", "val-blue"],
    "relation": ["ent-text-0"],
    "complex": [{"w": 1.5, "t": "=x"}, [{"w": 1}, {"t": ""}]],
}
CATEGORIES = {
    "ctg-all": ["odd", "text-0", "number-0", "key"],
    "ctg-new": ["odd", "text-1"],
    "ctg-sale": ["odd"],
}
SEVERAL: dict[str, Any] = {
    "options": ("option", [["val-red", "val-blue"], ["val-red"], []]),
    "relations": ("relation", [["ent-text-0", "ent-text-1"]]),
    "medias": ("media", [["https://a.b/c", "https://a.b/d|e"], [{"url": "https://a.b/"}]]),
    "texts": ("text", [["a", "b"], ["a|b"], ["[x"], [" a "], ["=a", "b"], [r"\N"], ["'=a"]]),
    "numbers": ("number", [[1, 2.5], [-1]]),
}


DANISH = {"labels": {"seg-da": "på dansk"}}


def said(key: str) -> dict[str, Any]:
    """A label in Danish, and what another system calls it."""
    return {**DANISH, "externalKey": f"erp/{key}"}


async def model(workspace: RecordsWorkspace) -> None:
    """A data model, and catalogs, of which each object has labels and an external key."""
    segments = [{"id": f"seg-{one}", "alias": one, "name": one} for one in ("en", "da")]
    await workspace.dimension("language", ["en", "da"])
    language = {
        "alias": "language",
        "name": "Language",
        "defaultSegmentId": "seg-en",
        "segments": [one | said(one["alias"]) for one in segments],
    }
    (await workspace.admin.put("/dimensions/dim-language", language | said("language"))).ok()
    await workspace.dimension("market", ["dk", "se"], **said("market"))
    colours = [
        {"id": f"val-{one}", "alias": one, "label": one, **said(one)} for one in ("red", "blue")
    ]
    colour = {"id": "ol-colour", "alias": "colour", "name": "Colour", "values": colours}
    (await workspace.admin.post("/option-lists", colour | said("colour"))).ok()
    both = {"dimensionIds": ["dim-market", "dim-language"]}
    await workspace.attribute("text", **both, **said("text"))
    more = {"option": {"optionListId": "ol-colour"}}
    for kind in KINDS:
        await workspace.attribute(kind, kind, **both, **more.get(kind, {}))
    for alias, (kind, _) in SEVERAL.items():
        await workspace.attribute(alias, kind, multiple=True, **more.get(kind, {}))
    # Its alias is the name of a fixed column.
    await workspace.attribute("schemaId", id="attr-odd")
    groups = [
        {
            "id": "grp-x",
            "name": "x",
            "sortOrder": 0,
            "attributeIds": [
                "attr-odd",
                "attr-text",
                *(f"attr-{one}" for one in [*KINDS, *SEVERAL]),
            ],
            **said("group"),
        }
    ]
    await workspace.workflow(states={"draft": said("draft"), "done": {}}, **said("workflow"))
    await workspace.schema("x", [], "wf-lifecycle", attributeGroups=groups, **said("x"))
    await workspace.schema("y", ["text"])
    await workspace.catalog("webshop", **said("webshop"))
    await workspace.category("all", alias="everything", sortOrder=2, **said("all"))
    await workspace.category("new|old", id="ctg-new", parent="all", **DANISH)
    await workspace.category("sale", externalKey="a|b", sortOrder=1)
    await workspace.catalog("empty")


async def fill(workspace: RecordsWorkspace) -> None:
    for number, text in enumerate(TEXTS):
        scopes = [{}, EN, DK] if number % 2 else [DA]
        values = [{"scope": scope, "value": text} for scope in scopes]
        schema = "schema-y" if number % 5 == 0 else "schema-x"
        await workspace.record(schema, {"text": values}, id=f"ent-text-{number}")
    for kind, values in KINDS.items():
        for number, value in enumerate(values):
            sent = [{"scope": DK, "value": value}, {"scope": {}, "value": value}]
            await workspace.record("schema-x", {kind: sent}, id=f"ent-{kind}-{number}")
    for alias, (_, values) in SEVERAL.items():
        for number, value in enumerate(values):
            await workspace.record("schema-x", {alias: value}, id=f"ent-{alias}-{number}")
    await workspace.record("schema-x", {"attr-odd": "odd"}, id="ent-odd")
    everything = {"id": "ent-key", "schemaId": "schema-x", "externalKey": "'=1|2", "values": {}}
    (await workspace.admin.post("/records", everything)).ok()
    for category, names in CATEGORIES.items():
        body = {"entityIds": [f"ent-{name}" for name in names]}
        (await workspace.admin.post(f"/categories/{category}/assign", body)).ok()


def in_order(content: bytes, kind: str) -> Any:
    if kind == "csv":
        header, *rows = csv.reader(io.StringIO(content.decode(), newline=""))
        return header, sorted(rows)
    return sorted(content.splitlines())


async def exported(workspace: RecordsWorkspace, kind: str) -> bytes:
    """`kind` is a format; "whole" before it stands for records as lists show them."""
    whole, _, ending = kind.rpartition(" ")
    columns = "" if whole else "columns=perScope&"
    return await download(workspace.admin, f"/export?{columns}format={ending}")


@pytest.mark.parametrize("kind", ["csv", "xlsx", "ndjson", "json", "whole ndjson", "whole json"])
async def test_an_export_is_imported_again_without_a_change(
    workspace: RecordsWorkspace, other_workspace: RecordsWorkspace, kind: str
):
    await model(workspace)
    await fill(workspace)
    number = len(await workspace.fetch("SELECT id FROM records WHERE workspace_id = $1"))
    audit = await workspace.fetch("SELECT count(*) FROM audit WHERE workspace_id = $1")
    staged = await told(workspace)
    file = await exported(workspace, kind)
    name = f"export.{kind.rsplit(maxsplit=1)[-1]}"

    job = await run(workspace, file, name)
    assert await errors_of(workspace.admin, job["id"]) == []
    assert (job["status"], job["unchanged"], job["total"]) == ("succeeded", number, number)
    assert await workspace.fetch("SELECT count(*) FROM audit WHERE workspace_id = $1") == audit
    assert await told(workspace) == staged

    # Into an empty workspace: records that are named by relations come first.
    await copy_model(callers(workspace), callers(other_workspace))
    assert await model_of(callers(other_workspace)) == await model_of(callers(workspace))
    job = await run(other_workspace, file, name)
    assert await errors_of(other_workspace.admin, job["id"]) == []
    assert (job["status"], job["created"]) == ("succeeded", number)
    for each in ("csv", "ndjson"):
        first, second = await exported(workspace, each), await exported(other_workspace, each)
        assert in_order(second, each) == in_order(first, each)
        assert b"ctg-all|ctg-new|ctg-sale" in second or each == "ndjson"


async def told(workspace: RecordsWorkspace) -> int:
    """How many events there are about records and categories."""
    kinds = ("entity.", "category.")
    return len([event for event in await workspace.staged() if event.type.startswith(kinds)])


def callers(workspace: RecordsWorkspace) -> Callers:
    return lambda kind: workspace.workflow_admin if kind == "workflows" else workspace.admin

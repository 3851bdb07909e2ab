"""Filters take aliases where they take ids: of jobs, and of the catalog of an export."""

from __future__ import annotations

import pytest

from shared.identity import Flag
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import error
from tests.kit.workspace import entries

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_jobs_are_found_by_the_alias_of_what_they_are_about(workspace: RecordsWorkspace):
    await workspace.attribute("size")
    await workspace.schema("shirt", ["size"])
    for kind, subject in (("convert", "attr-size"), ("move-states", "schema-shirt")):
        await workspace.database.execute(
            """
            INSERT INTO followed_jobs (workspace_id, id, kind, subject_id, created_by, created_at)
            VALUES ($1, $2, $2, $3, '', now())
            """,
            workspace.id,
            kind,
            subject,
        )
    for query, found in (
        ("attributeId=size", ["convert"]),
        ("attributeId=attr-size", ["convert"]),
        ("schemaId=shirt", ["move-states"]),
        ("schemaId=schema-shirt", ["move-states"]),
        ("schemaId=size", []),
    ):
        jobs = (await workspace.admin.get(f"/jobs?{query}")).ok()["items"]
        assert [job["id"] for job in jobs] == found, query


async def test_an_export_is_of_the_catalog_with_this_alias(workspace: RecordsWorkspace):
    await workspace.attribute("size")
    await workspace.schema("shirt", ["size"])
    for record_id in ("ent-in", "ent-out"):
        body = {"id": record_id, "schemaId": "schema-shirt", "values": entries({"size": "L"})}
        (await workspace.admin.post("/records", body)).ok()
    catalog = {"id": "cat-of-web", "alias": "web", "name": "Web"}
    (await workspace.admin.post("/catalogs", catalog)).ok()
    (await workspace.admin.post("/catalogs/cat-of-web/categories", {"id": "ctg", "name": "c"})).ok()
    (await workspace.admin.post("/categories/ctg/assign", {"entityId": "ent-in"})).ok()
    for name in ("web", "cat-of-web"):
        exported = (await workspace.admin.get(f"/export?catalogId={name}")).ok()
        assert [one["id"] for one in exported] == ["ent-in"]
    exporter = await workspace.user_with_role({"schema-shirt": {"*": "read"}}, Flag.EXPORT)
    for caller, name in ((workspace.admin, "wob"), (exporter, "web")):
        refused = await caller.get(f"/export?catalogId={name}")
        assert refused.outcome == error(404, "NOT_FOUND", f"Catalog '{name}' not found")

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error

ALIAS_PATTERN = "^[A-Za-z0-9_][A-Za-z0-9_.~-]{0,127}$"

pytestmark = pytest.mark.asyncio(loop_scope="module")


def dimension(name: str, *aliases: str, **more: Any) -> dict[str, Any]:
    return {
        "id": f"dim-{name}",
        "alias": name,
        "name": name,
        "segments": [{"id": f"seg-{a}", "alias": a, "name": a} for a in aliases],
        "defaultSegmentId": f"seg-{aliases[0]}",
        **more,
    }


async def products(admin: Caller) -> None:
    """Something whose name varies by language."""
    for path, body in (
        ("/dimensions", dimension("language", "en", "da")),
        (
            "/attributes",
            {
                "id": "attr-name",
                "alias": "name",
                "name": "Name",
                "type": "text",
                "dimensionIds": ["dim-language"],
            },
        ),
        (
            "/schemas",
            {
                "id": "schema-x",
                "alias": "x",
                "name": "X",
                "variantEnabled": False,
                "attributeGroups": [{"name": "All", "attributeIds": ["attr-name"]}],
            },
        ),
    ):
        (await admin.post(path, body)).ok()


def named(text: str, **scope: str) -> dict[str, Any]:
    entry = {"scope": {f"dim-{d}": f"seg-{s}" for d, s in scope.items()}, "value": text}
    return {"schemaId": "schema-x", "values": {"name": [entry]}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segments": []}, "Field 'segments' must have at least 1 item, got 0"),
        (
            {"segments": [{"id": f"s{n}", "alias": f"s{n}", "name": "s"} for n in range(1_001)]},
            "Field 'segments' must have at most 1000 items, got 1001",
        ),
        ({"segments": [{"alias": "en"}]}, "Field 'segments.0.name' is required"),
        (
            {"segments": [{"alias": "e n", "name": "x"}]},
            f"Field 'segments.0.alias' must match pattern '{ALIAS_PATTERN}', got 'e n'",
        ),
        (
            {"defaultSegmentId": "seg-no"},
            "Field 'defaultSegmentId' must be one of the segments, got 'seg-no'",
        ),
        ({"defaultSegmentId": None}, "Field 'defaultSegmentId' is required"),
        (
            {"segments": "seg-en"},
            "Field 'segments' expects type 'array', got 'string'",
        ),
    ],
)
async def test_a_dimension_that_is_not_one_is_refused(
    admin: Caller, changes: dict[str, Any], message: str
):
    refused = error(400, "VALIDATION_ERROR", message)
    assert (await admin.post("/dimensions", dimension("x", "en", **changes))).outcome == refused
    (await admin.post("/dimensions", dimension("x", "en"))).ok()
    assert (
        await admin.put("/dimensions/dim-x", dimension("x", "en", **changes))
    ).outcome == refused


async def test_a_default_moves_with_its_mark(admin: Caller):
    created = (await admin.post("/dimensions", dimension("language", "en", "da"))).ok()
    moved = (
        await admin.put("/dimensions/dim-language", {**created, "defaultSegmentId": "seg-da"})
    ).outcome
    assert moved == error(
        400,
        "VALIDATION_ERROR",
        "Field 'defaultSegmentId' is 'seg-da', but 'isDefault' marks 'seg-en'",
    )
    marks = [{**s, "isDefault": s["id"] == "seg-da"} for s in created["segments"]]
    body = {**created, "segments": marks}
    del body["defaultSegmentId"]
    answer = (await admin.put("/dimensions/dim-language", body)).ok()
    assert (answer["defaultSegmentId"], answer["segments"]) == ("seg-da", marks)


async def test_a_segment_that_values_use_stays(admin: Caller):
    await products(admin)
    record = (await admin.post("/records", named("Skjorte", language="da"))).ok()
    smaller = dimension("language", "en")
    in_use = error(409, "CONFLICT", "Segment 'seg-da' is in use and cannot be deleted")
    assert (await admin.put("/dimensions/dim-language", smaller)).outcome == in_use
    problem = {"Accept": "application/problem+json"}
    told = await admin.put("/dimensions/dim-language", smaller, headers=problem)
    assert told.body["errors"][0]["detail"].endswith(
        f": record '{record['id']}' has it, and maybe others"
    )
    (await admin.delete(f"/records/{record['id']}")).ok()
    assert (await admin.put("/dimensions/dim-language", smaller)).status == 200
    refused = await admin.post("/records", named("Skjorte", language="da"))
    assert (refused.status, refused.body["error"]) == (400, "VALIDATION_ERROR")


async def test_a_segment_of_another_workspace_does_not_hold_ours(
    admin: Caller, other_workspace: RecordsWorkspace
):
    other = other_workspace.admin
    for caller in (admin, other):
        await products(caller)
    (await other.post("/records", named("Skjorte", language="da"))).ok()
    assert (await admin.put("/dimensions/dim-language", dimension("language", "en"))).status == 200


async def test_a_segment_keeps_its_values_when_it_is_sent_without_id(admin: Caller):
    await products(admin)
    (await admin.post("/records", named("Skjorte", language="da"))).ok()
    body = dimension("language", "en", "da", defaultSegmentId="da")
    for segment in body["segments"]:
        del segment["id"]
    answer = (await admin.put("/dimensions/dim-language", body)).ok()
    assert [segment["id"] for segment in answer["segments"]] == ["seg-en", "seg-da"]


async def test_a_dimension_that_an_attribute_varies_by_stays(admin: Caller):
    await products(admin)
    assert (await admin.delete("/dimensions/dim-language")).outcome == error(
        409, "CONFLICT", "Dimension 'dim-language' is in use and cannot be deleted"
    )
    (await admin.delete("/schemas/schema-x")).ok()
    (await admin.delete("/attributes/attr-name")).ok()
    assert (await admin.delete("/dimensions/dim-language")).status == 204


async def test_a_segment_goes_or_its_first_value_comes_but_never_both(admin: Caller):
    await products(admin)
    for _ in range(5):
        removed, *written = await asyncio.gather(
            admin.put("/dimensions/dim-language", dimension("language", "en")),
            *(admin.post("/records", named("Skjorte", language="da")) for _ in range(6)),
        )
        statuses = {answer.status for answer in written}
        if removed.status == 200:
            assert statuses == {400}
        else:
            assert removed.status == 409
            assert 201 in statuses
        (await admin.put("/dimensions/dim-language", dimension("language", "en", "da"))).ok()
        for record in (await admin.get("/records")).ok()["items"]:
            (await admin.delete(f"/records/{record['id']}")).ok()


async def test_the_matrix_combines_segments(admin: Caller):
    (await admin.post("/dimensions", dimension("language", "en", "da"))).ok()
    (await admin.post("/dimensions", dimension("market", "dk", "se"))).ok()

    async def matrix(*ids: str) -> tuple[int, Any]:
        return (await admin.post("/dimensions/scope-matrix", {"dimensionIds": list(ids)})).outcome

    assert await matrix() == (200, [{}])
    assert await matrix("dim-market") == (
        200,
        [{"dim-market": "seg-dk"}, {"dim-market": "seg-se"}],
    )
    assert await matrix("market", "dim-market") == await matrix("dim-market")
    assert await matrix("dim-market", "dim-language", "dim-market") == (
        200,
        [
            {"dim-market": market, "dim-language": language}
            for market in ("seg-dk", "seg-se")
            for language in ("seg-en", "seg-da")
        ],
    )
    assert await matrix("dim-market", "dim-x") == error(
        404, "NOT_FOUND", "Dimension 'dim-x' not found"
    )


async def test_no_dimension_takes_the_place_of_the_matrix(admin: Caller):
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        answer = await admin.ask(method, "/dimensions/scope-matrix")
        assert (answer.status, answer.headers["Allow"]) == (405, "POST"), method
    body = {
        "alias": "matrix",
        "name": "Matrix",
        "segments": [{"alias": "one", "name": "One", "isDefault": True}],
    }
    refused = await admin.post("/dimensions", {"id": "scope-matrix", **body})
    assert refused.outcome == error(
        400, "VALIDATION_ERROR", "Field 'id' cannot be 'scope-matrix', which is reserved"
    )
    kept = (await admin.post("/dimensions", {"id": "scope-matrix-2", **body})).ok()
    assert (await admin.get("/dimensions/scope-matrix-2")).body == kept


async def test_the_matrix_is_bounded(admin: Caller):
    for name in ("a", "b"):
        segments = [f"{name}{number}" for number in range(101)]
        (await admin.post("/dimensions", dimension(name, *segments))).ok()
    answer = await admin.post("/dimensions/scope-matrix", {"dimensionIds": ["dim-a", "dim-b"]})
    assert answer.outcome == error(
        400,
        "VALIDATION_ERROR",
        "The matrix would have 10201 scopes, at most 10000 are allowed",
    )


async def test_the_matrix_needs_only_the_right_to_read(
    workspace: RecordsWorkspace, other_workspace: RecordsWorkspace
):
    admin = workspace.admin
    (await admin.post("/dimensions", dimension("language", "en"))).ok()
    body = {"dimensionIds": ["dim-language"]}
    reader = workspace.api_key("read")
    assert (await reader.post("/dimensions/scope-matrix", body)).outcome == (
        200,
        [{"dim-language": "seg-en"}],
    )
    other = other_workspace.admin
    assert (await other.post("/dimensions/scope-matrix", body)).outcome == error(
        404, "NOT_FOUND", "Dimension 'dim-language' not found"
    )
    assert (await reader.post("/dimensions/scope-matrix", {})).outcome == error(
        400, "VALIDATION_ERROR", "Field 'dimensionIds' is required"
    )

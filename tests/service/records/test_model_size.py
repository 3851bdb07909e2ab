"""How large the model of a workspace may be, and that it is counted whatever changes it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from records_service.app import create_app
from records_service.config import Config
from tests.kit import identities
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Caller, error

WORKSPACE = "ws-size"


async def started(services: Services, **settings: Any) -> tuple[RunningService, Caller]:
    service = await services.start(create_app, Config, **settings)
    return service, service.as_(identities.admin(WORKSPACE))


def text(alias: str, **more: Any) -> dict[str, Any]:
    return {"id": f"attr-{alias}", "alias": alias, "name": alias, "type": "text", **more}


def options(*aliases: str, **more: Any) -> dict[str, Any]:
    values = [{"id": f"val-{a}", "alias": a, "label": a.upper()} for a in aliases]
    return {"id": "ol-x", "alias": "x", "name": "X", "values": values, **more}


def too_many(allowed: int, came: int) -> tuple[int, dict[str, str]]:
    return error(
        403,
        "LIMIT_EXCEEDED",
        f"The model of this workspace may have at most {allowed} dimensions, option lists,"
        f" attributes and schemas, got {came}",
    )


async def size(service: RunningService) -> tuple[int, int]:
    row = await service.database.fetchrow(
        "SELECT objects, bytes FROM models WHERE workspace_id = $1", WORKSPACE
    )
    assert row is not None
    return row["objects"], row["bytes"]


async def counted_anew(service: RunningService) -> tuple[int, int]:
    row = await service.database.fetchrow(
        """
        SELECT sum(objects)::bigint AS objects, sum(bytes)::bigint AS bytes
          FROM (SELECT 1 AS objects, length(id) + length(alias) + length(body::text) AS bytes
                  FROM (SELECT id, alias, body FROM dimensions
                         UNION ALL SELECT id, alias, body FROM option_lists
                         UNION ALL SELECT id, alias, body FROM attributes
                         UNION ALL SELECT id, alias, body FROM schemas) AS part
                 UNION ALL
                SELECT 0, 60 + length(concat(id, alias, label, color, parent_id))
                  FROM option_values) AS each
        """
    )
    assert row is not None
    return row["objects"], row["bytes"]


@pytest.mark.parametrize("triggers", [False, True])
async def test_whatever_changes_a_model_is_counted(services: Services, triggers: bool):
    """Once, also where the triggers of the version before count."""
    url = await services.database("records_service", triggers=triggers)
    service, admin = await started(services, database_url=url)
    other = service.as_(identities.admin("ws-other"))
    segments = [{"id": "seg-en", "alias": "en", "name": "English", "isDefault": True}]
    language = {"id": "dim-l", "alias": "l", "name": "L", "segments": segments}
    group = {"id": "grp", "name": "All", "attributeIds": ["attr-a"]}
    schema = {"id": "schema-x", "alias": "x", "name": "X", "variantEnabled": False}
    schema["attributeGroups"] = [group]
    changes = [
        ("post", "/dimensions", language),
        ("put", "/dimensions/dim-l", {**language, "name": "Language"}),
        ("post", "/attributes", text("a")),
        ("post", "/attributes", text("b", description="long " * 50)),
        ("put", "/attributes/attr-b", text("b")),
        ("post", "/schemas", schema),
        ("put", "/schemas/schema-x", {**schema, "name": "Apparel"}),
        ("post", "/option-lists", options("red", "blue", hierarchical=True)),
        ("put", "/option-lists/ol-x", options("red", "green", "grey", hierarchical=True)),
        ("post", "/option-lists/ol-x/values", {"id": "val-d", "alias": "dark", "label": "D"}),
        (
            "put",
            "/option-lists/ol-x/values/val-d",
            {"alias": "darkest", "label": "D", "color": "#000", "parentId": "val-grey"},
        ),
        ("delete", "/option-lists/ol-x/values/val-grey", None),
        ("delete", "/attributes/attr-b", None),
    ]
    seen = []
    for verb, path, body in changes:
        asking = getattr(admin, verb)
        (await (asking(path) if body is None else asking(path, body))).ok()
        assert await size(service) == await counted_anew(service), (verb, path)
        seen.append((await size(service))[0])
    assert seen == [1, 1, 2, 3, 3, 4, 4, 5, 5, 5, 5, 5, 4]
    # A list's values go with it, what is refused leaves nothing, others count for themselves.
    (await admin.delete("/option-lists/ol-x")).ok()
    assert (await admin.post("/attributes", text("a"))).status == 409
    assert await size(service) == await counted_anew(service)
    before = await size(service)
    (await other.post("/attributes", text("a"))).ok()
    assert await size(service) == before


async def test_a_model_has_a_bound_in_objects(services: Services):
    _, admin = await started(services, model_objects_max=2)
    (await admin.post("/attributes", text("a"))).ok()
    (await admin.post("/option-lists", options("red"))).ok()
    assert (await admin.post("/attributes", text("b"))).outcome == too_many(2, 3)
    assert (await admin.get("/attributes/attr-b")).status == 404
    (await admin.put("/attributes/attr-a", text("a", description="longer"))).ok()
    (await admin.delete("/option-lists/ol-x")).ok()
    (await admin.post("/attributes", text("b"))).ok()


async def test_a_model_has_a_bound_in_bytes(services: Services):
    service, admin = await started(services, model_bytes_max=4_000)
    many = [f"o{n}" for n in range(20)]
    (await admin.post("/option-lists", options(*many))).ok()
    objects, before = await size(service)
    refused = [
        await admin.post("/attributes", text("a", description="x" * 4_000)),
        await admin.put("/option-lists/ol-x", options(*many, *(f"p{n}" for n in range(40)))),
    ]
    for answer in refused:
        assert (answer.status, answer.body["error"]) == (403, "LIMIT_EXCEEDED")
        assert answer.body["message"].startswith(
            "The model of this workspace may have at most 4000 bytes, got "
        )
    assert await size(service) == (objects, before)
    added = 0
    for n in range(60):
        value = {"id": f"val-q{n}", "alias": f"q{n}", "label": "x" * 100}
        answer = await admin.post("/option-lists/ol-x/values", value)
        if answer.status != 201:
            break
        added += 1
    assert answer.body["error"] == "LIMIT_EXCEEDED"
    assert 0 < added < 40
    assert (await size(service))[1] <= 4_000


async def test_a_model_that_is_too_large_already_may_change_and_shrink(services: Services):
    larger, _ = await started(services)
    for alias in "abc":
        admin = larger.as_(identities.admin(WORKSPACE))
        (await admin.post("/attributes", text(alias, description="x" * 1_000))).ok()
    _, admin = await started(
        services,
        database_url=larger.config.database_url,
        model_objects_max=1,
        model_bytes_max=2_000,
    )
    assert (await admin.put("/attributes/attr-a", text("a", description="x" * 1_001))).status == 403
    (await admin.put("/attributes/attr-a", text("a", description="x" * 999))).ok()
    assert (await admin.delete("/attributes/attr-b")).status == 204
    assert (await admin.post("/attributes", text("d"))).outcome == too_many(1, 3)


async def test_two_writers_do_not_pass_the_bound_together(services: Services):
    first, admin = await started(services, model_objects_max=4)
    _, beside = await started(services, model_objects_max=4, database_url=first.config.database_url)
    answers = await asyncio.gather(
        *((admin, beside)[n % 2].post("/attributes", text(f"a{n}")) for n in range(12))
    )
    assert Counter(answer.status for answer in answers) == {201: 4, 403: 8}
    assert await size(first) == await counted_anew(first)

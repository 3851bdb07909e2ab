"""How much a workspace may have of workflows, and that large ones hold nobody up."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Any

import pytest

from shared.database import listing
from tests.kit import identities
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Caller, error
from tests.kit.workspace import workflow_body
from tests.service.conftest import Rendered
from workflow_service.app import create_app
from workflow_service.config import Config
from workflow_service.definitions.model import WORKFLOW_BYTES_MAX
from workflow_service.transitions import definition_cache
from workflow_service.transitions.definition_cache import Definitions
from workflow_service.workflows import store

WORKSPACE = "ws-size"


async def started(services: Services, **settings: Any) -> tuple[RunningService, Caller]:
    service = await services.start(create_app, Config, **settings)
    return service, service.as_(identities.admin(WORKSPACE))


def workflow(alias: str, **more: Any) -> dict[str, Any]:
    return workflow_body(alias, ("draft", "done"), [("draft", "done")]) | more


async def size(service: RunningService) -> tuple[int, int]:
    row = await service.database.fetchrow(
        "SELECT objects, bytes FROM sizes WHERE workspace_id = $1 AND kind = 'workflows'", WORKSPACE
    )
    assert row is not None
    return row["objects"], row["bytes"]


async def counted_anew(service: RunningService) -> tuple[int, int]:
    row = await service.database.fetchrow(
        """SELECT count(*) AS objects,
                  sum(length(id) + length(alias) + length(body::text))::bigint AS bytes
             FROM workflows WHERE workspace_id = $1""",
        WORKSPACE,
    )
    assert row is not None
    return row["objects"], row["bytes"] or 0


@pytest.mark.parametrize("triggers", [False, True])
async def test_whatever_changes_workflows_is_counted(services: Services, triggers: bool):
    """Once, also where the triggers of the version before count."""
    url = await services.database("workflow_service", triggers=triggers)
    service, admin = await started(services, database_url=url)
    (await service.as_(identities.admin("ws-other")).post("/workflows", workflow("a"))).ok()
    changes = [
        ("post", "/workflows", workflow("a")),
        ("post", "/workflows", workflow("b", description="long " * 50)),
        ("post", "/workflows", workflow("b")),
        ("put", "/workflows/wf-b", workflow("b")),
        ("put", "/workflows/wf-b", workflow("renamed", id="wf-b")),
        ("delete", "/workflows/wf-a", None),
        ("delete", "/workflows/wf-b", None),
    ]
    seen = []
    for verb, path, body in changes:
        asking = getattr(admin, verb)
        await (asking(path) if body is None else asking(path, body))
        assert await size(service) == await counted_anew(service), (verb, path)
        seen.append((await size(service))[0])
    assert seen == [1, 2, 2, 2, 2, 1, 0]


async def test_a_workspace_has_a_bound_of_workflows(services: Services):
    _, admin = await started(services, workflows_max=2)
    for alias in "ab":
        (await admin.post("/workflows", workflow(alias))).ok()
    refused = await admin.post("/workflows", workflow("c"))
    assert refused.outcome == error(
        403, "LIMIT_EXCEEDED", "This workspace may have at most 2 workflows, got 3"
    )
    assert (await admin.get("/workflows/wf-c")).status == 404
    # One that exists is told apart from one too many.
    assert (await admin.post("/workflows", workflow("a"))).status == 409
    (await admin.put("/workflows/wf-a", workflow("a", description="longer"))).ok()
    (await admin.delete("/workflows/wf-b")).ok()
    (await admin.post("/workflows", workflow("c"))).ok()


async def test_workflows_have_a_bound_in_bytes(services: Services):
    service, admin = await started(services, workflows_bytes_max=3_000)
    (await admin.post("/workflows", workflow("a"))).ok()
    before = await size(service)
    for answer in (
        await admin.post("/workflows", workflow("b", description="x" * 3_000)),
        await admin.put("/workflows/wf-a", workflow("a", description="x" * 3_000)),
    ):
        assert (answer.status, answer.body["error"]) == (403, "LIMIT_EXCEEDED")
        assert answer.body["message"].startswith(
            "The workflows of this workspace may have at most 3000 bytes, got "
        )
    assert await size(service) == before
    assert (await admin.get("/workflows/wf-a")).ok()["description"] is None
    assert await service.database.fetchval("SELECT count(*) FROM outbox") == 1


async def test_what_is_too_much_already_may_change_and_shrink(services: Services):
    larger, admin = await started(services)
    for alias in "abc":
        (await admin.post("/workflows", workflow(alias, description="x" * 1_000))).ok()
    _, admin = await started(
        services,
        database_url=larger.config.database_url,
        workflows_max=1,
        workflows_bytes_max=2_000,
    )
    grown = workflow("a", description="x" * 1_001)
    assert (await admin.put("/workflows/wf-a", grown)).status == 403
    (await admin.put("/workflows/wf-a", workflow("a", description="x" * 999))).ok()
    (await admin.delete("/workflows/wf-b")).ok()
    assert (await admin.post("/workflows", workflow("d"))).body["message"] == (
        "This workspace may have at most 1 workflow, got 3"
    )


async def test_two_processes_do_not_pass_the_bound_together(services: Services):
    first, admin = await started(services, workflows_max=4)
    _, beside = await started(services, workflows_max=4, database_url=first.config.database_url)
    answers = await asyncio.gather(
        *((admin, beside)[n % 2].post("/workflows", workflow(f"a{n}")) for n in range(12))
    )
    assert Counter(answer.status for answer in answers) == {201: 4, 403: 8}
    assert await size(first) == await counted_anew(first)


async def test_a_workflow_has_a_bound_in_bytes(services: Services):
    _, admin = await started(services)
    names = [f"attribute-with-a-long-name-{n:04}" * 4 for n in range(2_000)]
    states = {f"s{n}": {"required": names} for n in range(5)}
    for refused in (
        await admin.post("/workflows", workflow_body("large", states, [])),
        await admin.put("/workflows/wf-large", workflow_body("large", states, [])),
    ):
        assert (refused.status, refused.body["error"]) == (400, "VALIDATION_ERROR")
        assert refused.body["message"].startswith(
            f"A workflow may have at most {WORKFLOW_BYTES_MAX} bytes as JSON, got 12"
        )


@pytest.mark.parametrize("rows", [1, 3, 4, 100])
async def test_the_list_is_read_in_pieces_beside_the_event_loop_whole_and_in_order(
    services: Services, rendered: Rendered, monkeypatch: pytest.MonkeyPatch, rows: int
):
    service, admin = await started(services)
    (await service.as_(identities.admin("ws-other")).post("/workflows", workflow("x"))).ok()
    for n in range(7):
        (await admin.post("/workflows", workflow(f"w{n}", description="x" * 300))).ok()
    await service.database.execute("UPDATE workflows SET created_at = '2026-01-01'")
    monkeypatch.setattr(listing, "BUFFERED_BYTES_MAX", 1_000)
    monkeypatch.setattr(listing, "PIECE_ROWS", rows)
    monkeypatch.setattr(listing, "PIECE_BYTES", 2_000)
    answer = await admin.get("/workflows")
    assert [one["id"] for one in answer.ok()] == [f"wf-w{n}" for n in range(7)]
    for one in answer.body:
        assert one == (await admin.get(f"/workflows/{one['id']}")).ok()
    assert len(rendered.pieces) > 1
    assert max(rendered.pieces) < 7
    assert sum(rendered.pieces) == 7
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert threading.get_ident() not in rendered.threads


async def asked(admin: Caller, version: int, target: str = "state-done") -> Any:
    question = {
        "definitionVersion": version,
        "fromStateId": "state-draft",
        "toStateId": target,
        "scores": {"state-done": 100},
    }
    return (await admin.post("/internal/workflows/wf-a/evaluate", question)).body


async def test_a_decision_parses_a_version_once_and_beside_the_loop_when_it_is_large(
    services: Services, monkeypatch: pytest.MonkeyPatch
):
    first, admin = await started(services)
    _, beside = await started(services, database_url=first.config.database_url)
    (await admin.post("/workflows", workflow("a"))).ok()
    threads: list[int] = []
    parse = store.parsed

    def watched(row: Any) -> Any:
        threads.append(threading.get_ident())
        return parse(row)

    monkeypatch.setattr(store, "parsed", watched)
    for _ in range(3):
        assert await asked(admin, 1) == {"allowed": True}
    assert threads == [threading.get_ident()]
    # Another process revises it: what is remembered is not asked any more.
    monkeypatch.setattr(definition_cache, "_INLINE_BYTES_MAX", 10)
    (await beside.put("/workflows/wf-a", workflow("a", transitions=[]))).ok()
    stale = await asked(admin, 1)
    assert (stale["stale"], stale["definition"]["version"]) == (True, 2)
    assert (await asked(admin, 2))["error"] == "TRANSITION_ERROR"
    assert len(threads) == 2
    assert threads[1] != threading.get_ident()
    # Deleted and made again: its versions go on, and nothing of the old one is used.
    (await beside.delete("/workflows/wf-a")).ok()
    assert (await asked(admin, 2))["error"] == "NOT_FOUND"
    (await beside.post("/workflows", workflow("a"))).ok()
    assert await asked(admin, 4) == {"allowed": True}


async def test_what_is_remembered_has_a_bound(services: Services):
    service, admin = await started(services)
    for n in range(5):
        (await admin.post("/workflows", workflow(f"w{n}"))).ok()

    async def after(remembered: Definitions, *decisions: int) -> set[str]:
        """The workflows that are remembered after decisions about these."""
        for n in decisions:
            await remembered.current(service.app, WORKSPACE, f"wf-w{n}")
        return {workflow_id for _, workflow_id in remembered._known}

    few = Definitions(count_max=3)
    assert await after(few, 0, 1, 2, 0, 3) == {"wf-w2", "wf-w0", "wf-w3"}
    size = sum(parsed.bytes for parsed in few._known.values())
    small = Definitions(bytes_max=size)
    assert await after(small, 2, 0, 3) == {"wf-w2", "wf-w0", "wf-w3"}
    assert small._known.currsize == size
    assert await after(small, 4) == {"wf-w0", "wf-w3", "wf-w4"}
    assert await after(Definitions(bytes_max=1), 1) == set()

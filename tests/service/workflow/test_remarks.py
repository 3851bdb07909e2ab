"""Answers with a change set have a bounded part of what was said about it; lists have all."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import chain
from typing import Any

import pytest

from tests.kit import identities
from tests.kit.service import RunningService
from tests.kit.sigma import Caller
from workflow_service.remarks import store
from workflow_service.remarks.model import Annotation

WORKSPACE = identities.admin().workspace_id


async def said(service: RunningService, table: str, *more: str, count: int) -> None:
    """So many remarks about a change set `cs-1` that has no operations."""
    admin = service.as_(identities.admin())
    (await admin.post("/change-sets", {"id": "cs-1"})).ok()
    columns = "".join(f", {one}" for one in more)
    await service.database.execute(
        f"""
        INSERT INTO {table} (workspace_id, change_set_id, id, text, created_by, created_at{columns})
        SELECT $1, 'cs-1', 'said-' || n, 'text ' || n, 'user-admin',
               now() + n * interval '1 second'{", 'x'" * len(more)}
          FROM generate_series(1, $2) AS n
        """,
        WORKSPACE,
        count,
    )


def texts(messages: list[Any]) -> list[str]:
    return [one["text"] for one in messages]


async def test_a_change_set_is_answered_with_its_newest_messages(
    service: RunningService, admin: Caller
):
    await said(service, "change_set_messages", count=120)
    newest = [f"text {n}" for n in range(71, 121)]
    for path in ("/change-sets/cs-1", "/change-sets/cs-1/feedback"):
        answer = (await admin.get(path)).ok()
        assert (answer["messageCount"], texts(answer["messages"])) == (120, newest)
    every = [f"text {n}" for n in range(1, 121)]
    assert texts((await admin.get("/change-sets/cs-1/messages")).ok()) == every
    path: str | None = "/change-sets/cs-1/messages?limit=50"
    pages = []
    while path is not None:
        page = await admin.get(path)
        pages.append(texts(page.ok()))
        link = page.headers.get("Link")
        path = None if link is None else link.split(">")[0].removeprefix("</api/v1")
    assert [len(page) for page in pages] == [50, 50, 20] and list(chain(*pages)) == every
    (await admin.post("/change-sets", {"id": "cs-2"})).ok()
    assert (await admin.get("/change-sets/cs-2")).ok()["messageCount"] == 0
    assert (await admin.get("/change-sets/cs-2/messages")).ok() == []


async def test_annotations_have_a_bounded_amount_of_text(
    service: RunningService, admin: Caller, monkeypatch: pytest.MonkeyPatch
):
    await said(
        service,
        "change_set_annotations",
        "operation_id",
        "attribute_id",
        "attribute",
        "comment",
        count=3,
    )
    monkeypatch.setattr(store, "ANNOTATED_BYTES_MAX", 40)
    fields: dict[str, Any] = {"operation_id": "op", "attribute_id": "a", "attribute": "a"}
    for size, fits in ((20, False), (15, True), (5, False)):
        one = Annotation(
            id=f"ann-{size}",
            **fields,
            text="t",
            start=None,
            stop=None,
            comment="c" * size,
            created_by="user-admin",
            created_at=datetime.now(UTC),
        )
        async with service.database.transaction() as conn:
            if fits:
                await store.add_annotation(conn, WORKSPACE, "cs-1", one)
                continue
            with pytest.raises(store.LimitExceeded) as refused:
                await store.add_annotation(conn, WORKSPACE, "cs-1", one)
            assert refused.value.message == (
                "The annotations of a change set may have at most 40 bytes of text"
            )

"""Waves of a bulk call: judged while others are stored, and again when somebody comes between."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from records_service.bulk import commands
from records_service.bulk import rows as reading_rows
from records_service.bulk import store as reading
from records_service.writes import store as writes
from records_service.writes.model import StaleModel, StaleRecord
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.workspace import entries
from tests.service.records.bulk_calls import SCHEMA, bulk, failures, model_apparel, row, values_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

PRICE = {"price": 1}


@pytest_asyncio.fixture(loop_scope="module")
async def apparel(workspace: RecordsWorkspace) -> RecordsWorkspace:
    return await model_apparel(workspace)


@pytest.fixture
def judged_first(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Waves of two rows; each is judged, if it can be, before anything of the other is stored.

    Says what happened, with the first row of the wave.
    """
    monkeypatch.setattr("records_service.bulk.waves.WAVE_ROWS", 2)
    judge_ahead, store, judge = commands.Writer._judge_ahead, commands._store, commands.judge
    done, happened = asyncio.Event(), []

    async def ahead(*arguments: Any) -> None:
        sent = arguments[-1]
        sent.set()
        try:
            await judge_ahead(*arguments)
        finally:
            done.set()

    async def stored(work: Any, judged: Any, sent: asyncio.Event) -> None:
        await done.wait()
        done.clear()
        happened.append(("stored", judged.settled.results[0].index))
        await store(work, judged, sent)

    async def noted(*arguments: Any, **more: Any) -> Any:
        found = await judge(*arguments, **more)
        happened.append(("judged", found.settled.results[0].index))
        return found

    monkeypatch.setattr(commands.Writer, "_judge_ahead", ahead)
    monkeypatch.setattr(commands, "_store", stored)
    monkeypatch.setattr(commands, "judge", noted)
    return happened


async def test_a_wave_is_judged_once_while_the_one_before_it_is_stored(apparel, judged_first):
    rows = [row(f"ent-{n}", sku=f"S{n}", related=[]) for n in range(6)]
    answer = await bulk(apparel.admin, *rows)
    assert [one["outcome"] for one in answer.ok()["results"]] == ["created"] * 6
    assert judged_first == [
        ("judged", 0),
        ("judged", 2),
        ("stored", 0),
        ("judged", 4),
        ("stored", 2),
        ("stored", 4),
    ]


async def test_a_wave_is_looked_at_when_the_one_before_it_is_on_its_way(apparel, monkeypatch):
    """Both need the interpreter, and PostgreSQL is not to wait for that."""
    monkeypatch.setattr("records_service.bulk.waves.WAVE_ROWS", 2)
    monkeypatch.setattr("records_service.bulk.handlers.WAVE_ROWS", 2)
    happened: list[str] = []
    parsed, insert = reading_rows.parsed, writes.insert

    def looked_at(*arguments: Any) -> Any:
        happened.append("looked at")
        return parsed(*arguments)

    async def sent(*arguments: Any, **more: Any) -> None:
        happened.append("sent")
        await insert(*arguments, **more)

    monkeypatch.setattr(reading_rows, "parsed", looked_at)
    monkeypatch.setattr(writes, "insert", sent)
    rows = [row(f"ent-w{n}", sku=f"W{n}") for n in range(4)]
    answer = await bulk(apparel.admin, *rows)
    assert {one["outcome"] for one in answer.ok()["results"]} == {"created"}
    assert happened[:2] == ["looked at", "sent"], happened


def changed(record_id: str, **values: Any) -> dict[str, Any]:
    return {"id": record_id, "values": entries(values)}


@pytest.mark.parametrize(
    ("rows", "query", "outcomes"),
    [
        pytest.param(
            [changed("ent-a", sku="A2"), row("ent-x"), row("ent-c", sku="A"), row("ent-y")],
            {},
            ["updated", "created", "created", "created"],
            id="a value that was given up",
        ),
        pytest.param(
            [row("ent-x", sku="X"), row("ent-y"), row("ent-z", sku="X"), row("ent-v")],
            {},
            ["created", "created", "failed", "created"],
            id="a value that was taken",
        ),
        pytest.param(
            [row("ent-x"), row("ent-y"), row("ent-z", related=["ent-x"]), row("ent-v")],
            {},
            ["created"] * 4,
            id="a relation to what was created",
        ),
        pytest.param(
            [changed("ent-a", price=2), row("ent-x"), changed("ent-a", price=1), row("ent-y")],
            {},
            ["updated", "created", "updated", "created"],
            id="back to what it was",
        ),
        pytest.param(
            [row("ent-x"), row("ent-y"), changed("ent-x", price=2), row("ent-z")],
            {},
            ["created", "created", "updated", "created"],
            id="a change of what was created",
        ),
        pytest.param(
            [row("ent-x"), row("ent-y"), row("ent-x", price=2), row("ent-z")],
            {"onMatch": "skip"},
            ["created", "created", "skipped", "created"],
            id="what was created is skipped",
        ),
        pytest.param(
            [row("ent-a", sku="A2"), row(sku="X"), row(sku="A", price=3), row(sku="A2", price=4)],
            {"match": "sku"},
            ["failed", "created", "updated", "created"],
            id="matched by a value",
        ),
        pytest.param(
            [
                changed("ent-a", price=2) | {"externalKey": "K2"},
                row("ent-x"),
                row("ent-y") | {"externalKey": "K1"},
                row("ent-z") | {"externalKey": "K2"},
            ],
            {},
            ["updated", "created", "created", "failed"],
            id="an external key that was given up",
        ),
    ],
)
async def test_a_row_is_judged_by_what_the_wave_before_it_changes(
    apparel, judged_first, rows, query, outcomes
):
    first = row("ent-a", sku="A", **PRICE) | {"externalKey": "K1"}
    (await bulk(apparel.admin, first)).ok()
    answer = await bulk(apparel.admin, *rows, **query)
    assert [one["outcome"] for one in answer.ok()["results"]] == outcomes


@pytest.mark.parametrize("stale", [StaleModel, StaleRecord])
async def test_no_row_is_lost_when_others_come_between(apparel, monkeypatch, stale):
    """Even if the rows behind them are being read at that moment."""
    for module in ("waves", "handlers"):
        monkeypatch.setattr(f"records_service.bulk.{module}.WAVE_ROWS", 5)
    store, failed, parsed = commands._store, set(), reading_rows.parsed
    has_begun, may_end = threading.Event(), threading.Event()

    def slowly(*arguments: Any) -> Any:
        found = parsed(*arguments)
        if failed or found[0].index > 0:
            has_begun.set()
            may_end.wait(2)
            may_end.clear()
        return found

    async def stored(work: Any, judged: Any, sent: asyncio.Event) -> None:
        first = judged.settled.results[0].index
        if first not in failed:
            await asyncio.to_thread(has_begun.wait, 2)
            has_begun.clear()
            failed.add(first)
            asyncio.get_running_loop().call_later(0.01, may_end.set)
            raise stale
        await store(work, judged, sent)

    monkeypatch.setattr(reading_rows, "parsed", slowly)
    monkeypatch.setattr(commands, "_store", stored)
    answer = await bulk(apparel.admin, *(row(f"ent-{n}", sku=f"S{n}") for n in range(40)))
    results = answer.ok()["results"]
    assert [one["index"] for one in results] == list(range(40))
    assert {one["outcome"] for one in results} == {"created"}
    assert len(failed) == 8


Between = Callable[[RecordsWorkspace], Awaitable[None]]


async def takes_the_value(apparel: RecordsWorkspace) -> None:
    body = {"id": "ent-other", "schemaId": SCHEMA, "values": entries({"sku": "S1"})}
    (await apparel.admin.post("/records", body)).ok()


async def takes_the_external_key(apparel: RecordsWorkspace) -> None:
    body = {"id": "ent-other", "schemaId": SCHEMA, "externalKey": "K1", "values": {}}
    (await apparel.admin.post("/records", body)).ok()


async def takes_the_id(apparel: RecordsWorkspace) -> None:
    body = {"id": "ent-1", "schemaId": SCHEMA, "values": entries({"price": 7})}
    (await apparel.admin.post("/records", body)).ok()


async def uses_the_id_up(apparel: RecordsWorkspace) -> None:
    await takes_the_id(apparel)
    (await apparel.admin.delete("/records/ent-1")).ok()


@pytest.mark.parametrize(
    ("between", "told"),
    [
        (takes_the_value, (409, "CONFLICT", "Value 'S1' for attribute 'sku' must be unique")),
        (takes_the_external_key, (409, "CONFLICT", "Entity with external key 'K1' already exists")),
        (takes_the_id, ("updated", 2)),
        (uses_the_id_up, ("created", 3)),
    ],
)
async def test_a_row_is_judged_again_when_what_it_takes_is_taken(
    apparel, monkeypatch, between: Between, told
):
    """By another write, after the row was judged and before it is stored."""
    store, calls = commands._store, []

    async def stored(work: Any, judged: Any, sent: asyncio.Event) -> None:
        calls.append(len(judged.settled.creates))
        if len(calls) == 1:
            await between(apparel)
        await store(work, judged, sent)

    monkeypatch.setattr(commands, "_store", stored)
    keyed = row("ent-1", sku="S1") | {"externalKey": "K1"}
    answer = await bulk(apparel.admin, row("ent-0", sku="S0"), keyed, row("ent-2", sku="S2"))
    results = answer.ok()["results"]
    assert len(calls) == 2
    assert [results[n]["outcome"] for n in (0, 2)] == ["created", "created"]
    if told[0] == 409:
        assert [(status, code, said) for _, status, code, said, _ in failures(answer)] == [told]
        assert (await apparel.admin.get("/records/ent-1")).status == 404
    else:
        assert (results[1]["outcome"], results[1]["version"]) == told
        assert (await values_of(apparel, "ent-1"))["sku"] == "S1"


async def test_new_records_are_compared_with_others_only_after_one_met_another(
    apparel, monkeypatch
):
    """The statement that stores them tells; then the wave is judged again, and the rest as well."""
    monkeypatch.setattr("records_service.bulk.waves.WAVE_ROWS", 2)
    next_versions, store = reading.next_versions, commands._store
    looked_up: list[int] = []
    stored: list[int] = []

    async def noted(conn: Any, workspace_id: str, ids: Any) -> Any:
        looked_up.append(len(ids))
        return await next_versions(conn, workspace_id, ids)

    async def counted(work: Any, judged: Any, sent: asyncio.Event) -> None:
        stored.append(judged.settled.results[0].index)
        await store(work, judged, sent)

    monkeypatch.setattr(reading, "next_versions", noted)
    monkeypatch.setattr(commands, "_store", counted)
    answer = await bulk(apparel.admin, *(row(f"ent-a{n}", sku=f"A{n}") for n in range(6)))
    assert {one["outcome"] for one in answer.ok()["results"]} == {"created"}
    assert (looked_up, stored) == ([], [0, 2, 4])
    stored.clear()
    taken = {0: "A1", 5: "A4"}
    rows = [row(f"ent-b{n}", sku=taken.get(n, f"B{n}")) for n in range(8)]
    answer = await bulk(apparel.admin, *rows)
    assert [index for index, *_ in failures(answer)] == [0, 5]
    # What was judged ahead of the first is forgotten.
    assert stored == [0, 0, 2, 4, 6]
    assert len(looked_up) == 4

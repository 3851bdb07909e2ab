"""What becomes of bulk calls that break off, and of too many at a time."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
import pytest_asyncio

from records_service.bulk import commands
from records_service.bulk.calls import CALLS_OF_WORKSPACE
from shared.errors import ServiceUnavailable, UpstreamTimeout
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import error
from tests.service.records.bulk_calls import bulk, counts, model_apparel, row

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def apparel(workspace: RecordsWorkspace) -> RecordsWorkspace:
    return await model_apparel(workspace)


@pytest.fixture
def small_waves(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("waves", "handlers"):
        monkeypatch.setattr(f"records_service.bulk.{module}.WAVE_ROWS", 10)


@pytest.mark.parametrize("mode", ["partial", "atomic"])
@pytest.mark.usefixtures("small_waves")
async def test_a_call_whose_client_went_away_is_sent_again(apparel, mode):
    """Whatever had been written by then: all of it is there, once."""
    rows = [row(f"ent-{n}", sku=f"S{n}", price=n) for n in range(300)]
    held = "SELECT count(*)::int AS n FROM records WHERE workspace_id = $1"
    for patience_s in (0.02, 0.1, 0.2):
        with suppress(TimeoutError):
            await asyncio.wait_for(bulk(apparel.admin, *rows, mode=mode), patience_s)
        (found,) = await apparel.fetch(held)
        assert mode == "partial" or found["n"] in (0, 300)
    answer = await bulk(apparel.admin, *rows, mode=mode)
    assert sum(counts(answer).values()) == 300
    assert set(counts(answer)) <= {"created", "unchanged"}
    told = await apparel.fetch(
        "SELECT count(*)::int AS n, max(version) AS v FROM audit WHERE workspace_id = $1"
    )
    assert told == [{"n": 300, "v": 1}]
    events = [one.subject for one in await apparel.staged() if one.type == "entity.created"]
    assert len(events) == len(set(events)) == 300


@pytest.mark.usefixtures("small_waves")
async def test_rows_that_may_have_been_written_are_told_from_those_that_were_not_tried(
    apparel, monkeypatch
):
    write_some, asked = commands.Writer.write_some, []

    async def breaking(*arguments):
        asked.append(arguments)
        if len(asked) == 2:
            raise UpstreamTimeout.unknown()
        return await write_some(*arguments)

    monkeypatch.setattr(commands.Writer, "write_some", breaking)
    answer = await bulk(apparel.admin, *(row(f"ent-{n}", sku=f"S{n}") for n in range(40)))
    statuses = [one["status"] for one in answer.ok()["results"]]
    assert statuses == [201] * 10 + [504] * 10 + [503] * 20
    assert len(asked) == 2


async def test_a_call_that_cannot_begin_is_refused_as_a_whole(apparel, monkeypatch):
    async def away(*_):
        raise ServiceUnavailable

    monkeypatch.setattr(commands.Writer, "write_some", away)
    for mode in ("partial", "atomic"):
        answer = await bulk(apparel.admin, row("ent-a", sku="A"), mode=mode)
        assert answer.outcome == error(503, "SERVICE_UNAVAILABLE", "Service unavailable")


async def test_a_workspace_has_few_calls_at_a_time(apparel, other_workspace):
    places = apparel.records.app[CALLS_OF_WORKSPACE]
    other = await model_apparel(other_workspace)
    async with places.of(apparel.id), places.of(apparel.id):
        refused, served = await asyncio.gather(
            bulk(apparel.admin, row("ent-a", sku="A")), bulk(other.admin, row("ent-a", sku="A"))
        )
    assert refused.outcome == error(
        503,
        "SERVICE_UNAVAILABLE",
        "Too many bulk calls of this workspace are running at once",
    )
    assert int(refused.headers["Retry-After"]) >= 1
    assert counts(served) == {"created": 1}

"""Everything that the load of `make rolling` leaves out, each again and again at its own pace.

Gadgets are records beside those of the load, in a schema of their own; their number stays the same.
So are those of the ballast, which are only there to be remembered.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Final, Self

from tests.faults.listeners import Ear, FeedEar
from tests.faults.webhooks import WebhookEar
from tests.kit.eventually import eventually
from tests.kit.sigma import Caller
from tests.kit.workspace import entries
from tests.rolling.load import Load, Model
from tests.service.records.import_files import send

GADGETS: Final = 500
ROWS: Final = 200
BALLAST: Final = 30_000
BALLAST_AT_ONCE: Final = 1_000
AT_A_TIME: Final = 4
LOGINS: Final = 16
OF_A_SET: Final = 20
ENDED_WITHIN_S: Final = 120.0
HEARD_WITHIN_S: Final = 90.0
IMPORT_ENDS: Final = ("succeeded", "partial", "failed", "cancelled")
Step = Callable[[Caller, int], Awaitable[None]]


class Surfaces:
    """As an async context, around all of the load; `stop` before the end, then `unheard`."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._open = AsyncExitStack()
        self._ears: dict[str, Ear] = {}
        self._running: list[asyncio.Task[None]] = []
        self._ending = asyncio.Event()
        self._steps: dict[Step, float] = {
            use_a_variant: 1,
            search: 0.5,
            change_prices: 2,
            apply_a_change_set: 10,
            import_prices: 20,
            export_gadgets: 20,
            change_the_model: 30,
        }
        """With the seconds from the end of one to the begin of the next."""

    async def __aenter__(self) -> Self:
        admin = self._load.caller(self._load.token)
        self._ears = {"feed": FeedEar(admin), "webhook": WebhookEar(admin)}
        try:
            for ear in self._ears.values():
                self._open.push_async_callback(ear.close)
                await ear.start()
            model = Model(admin)
            await _make_gadgets(model)
            await _fill_caches(model)
            # Each thread that hashes passwords keeps the memory of its first hash.
            await asyncio.gather(*(self._load.log_in_again() for _ in range(LOGINS)))
        except BaseException:
            await self._open.aclose()
            raise
        self._running = [
            asyncio.create_task(self._again_and_again(step, pause_s))
            for step, pause_s in self._steps.items()
        ]
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._open.aclose()

    async def stop(self) -> None:
        """Begin nothing new, and wait for the end of what was begun."""
        self._ending.set()
        await asyncio.gather(*self._running)

    async def unheard(self) -> list[str]:
        """Changes of the load's records that the follower or the receiver has not heard of."""
        items = self._load.ledger.records.values()
        expected = {(item.id, n) for item in items for n in range(1, item.version + 1)}

        lines = []
        for name, ear in self._ears.items():

            def missing(ear: Ear = ear) -> set[tuple[str, int]]:
                return expected - {(change.record, change.version) for change in ear.heard}

            try:
                await eventually(lambda missing=missing: not missing(), HEARD_WITHIN_S)
            except AssertionError:
                lines.append(f"wrong: {name} heard nothing of {sorted(missing())[:5]}")
        return lines

    async def _again_and_again(self, step: Step, pause_s: float) -> None:
        for number in itertools.count(1):
            caller = self._load.caller(self._load.token)
            await self._load.noted(step.__name__, step(caller, number))
            try:
                async with asyncio.timeout(pause_s):
                    await self._ending.wait()
                    return
            except TimeoutError:
                pass


async def _make_gadgets(model: Model) -> None:
    await model.attribute("sku", validation={"unique": True})
    await model.attribute("price", "number", filterable=True)
    await model.attribute("weight", "number")
    await model.attribute("note")
    await model.schema("gadget", ["sku", "price", "weight", "note"], variantEnabled=True)
    rows = [
        {
            "id": f"ent-gadget-{n}",
            "schemaId": "schema-gadget",
            "values": entries({"sku": f"G{n}", "price": n, "weight": n, "note": f"gadget {n}"}),
        }
        for n in range(GADGETS)
    ]
    (await model.admin.post("/records/bulk?mode=atomic", {"operations": rows})).ok()


async def _fill_caches(model: Model) -> None:
    """What a process remembers of lists is as much as it may be, so that nothing of it can grow.

    Several times at once: one after the other would all reach the same one of the two processes.
    """
    await model.schema("ballast", ["note"])
    for begin in range(0, BALLAST, BALLAST_AT_ONCE):
        rows = [
            {"schemaId": "schema-ballast", "values": entries({"note": f"{n} {'ballast ' * 60}"})}
            for n in range(begin, begin + BALLAST_AT_ONCE)
        ]
        (await model.admin.post("/records/bulk?mode=atomic", {"operations": rows})).ok()
    await asyncio.gather(*(_list_all(model.admin) for _ in range(AT_A_TIME)))


async def _list_all(caller: Caller) -> None:
    path = "/records?schemaId=schema-ballast&limit=500"
    page = (await caller.get(path)).ok()
    while page["nextCursor"] is not None:
        page = (await caller.get(f"{path}&cursor={page['nextCursor']}")).ok()


async def use_a_variant(caller: Caller, number: int) -> None:
    """Made, read with what it inherits, listed, deleted."""
    path = f"/records/ent-gadget-{number % GADGETS}/variants"
    made = (await caller.post(path, {"values": entries({"note": f"variant {number}"})})).ok()
    resolved = (await caller.get(f"{path}/{made['id']}/resolved")).ok()
    assert "price" in resolved["effectiveValues"], resolved
    (await caller.get(f"{path}?limit=50")).ok()
    (await caller.delete(f"{path}/{made['id']}")).ok()


async def search(caller: Caller, number: int) -> None:
    """By a number, sorted, and by a text."""
    sku = {"attribute": "sku", "operator": "equals", "value": f"G{number % GADGETS}"}
    assert (await caller.post("/search", {"criteria": [sku]})).ok()["total"] == 1
    dear = {"attribute": "price", "operator": "gte", "value": 0}
    by_price = [{"attribute": "price", "order": "desc"}]
    (await caller.post("/search", {"criteria": [dear], "sort": by_price, "limit": 50})).ok()
    found = (await caller.get(f"/search/text?query=gadget+{number % GADGETS}")).ok()
    assert found["items"], found


async def change_prices(caller: Caller, number: int) -> None:
    """A tenth of them in one bulk call."""
    rows = [
        {"id": f"ent-gadget-{n}", "values": entries({"price": n + number})}
        for n in range(number % 10, GADGETS, 10)
    ]
    answer = (await caller.post("/records/bulk", {"operations": rows})).ok()
    assert answer["failed"] == 0, answer


async def apply_a_change_set(caller: Caller, number: int) -> None:
    """Proposed, submitted, approved, applied."""
    operations = [
        {
            "type": "update",
            "entityId": f"ent-gadget-{n}",
            "changes": [{"attribute": "note", "newValue": f"gadget {n} of set {number}"}],
        }
        for n in range(OF_A_SET)
    ]
    source = {"type": "agent", "name": "soak"}
    body = {"title": "Notes", "source": source, "operations": operations}
    made = (await caller.post("/change-sets", body)).ok()
    for step in ("submit", "approve", "apply"):
        (await caller.post(f"/change-sets/{made['id']}/{step}", {})).ok()


async def import_prices(caller: Caller, number: int) -> None:
    """A file whose rows find their records by a unique attribute."""
    rows = "".join(f"G{n},{n + number}\n" for n in range(ROWS))
    sent = (await send(caller, f"sku,weight\n{rows}", "g.csv", schemaId="gadget", match="sku")).ok()
    job: dict[str, Any] = {}

    async def ended() -> bool:
        nonlocal job
        job = (await caller.get(f"/imports/{sent['id']}")).ok()
        return job["status"] in IMPORT_ENDS

    await eventually(ended, ENDED_WITHIN_S)
    assert job["status"] == "succeeded", job


async def export_gadgets(caller: Caller, number: int) -> None:
    """All of them as CSV, by scope every other time."""
    columns = "&columns=perScope" if number % 2 else ""
    text = (await caller.get(f"/export?schemaId=schema-gadget&format=csv{columns}")).ok()
    assert text.count("\n") > GADGETS, text[:200]


async def change_the_model(caller: Caller, number: int) -> None:
    """An index made or given up behind the writes, and an attribute that comes and goes."""
    weight = {"alias": "weight", "name": "weight", "type": "number", "filterable": number % 2 == 1}
    (await caller.put("/attributes/attr-weight", weight)).ok()
    spare = {"id": "attr-spare", "alias": "spare", "name": "spare", "type": "text"}
    (await caller.post("/attributes", spare)).ok()
    (await caller.delete("/attributes/attr-spare")).ok()

"""What a change set takes from its proposal to its application, beside a bulk call of the same.

    .venv/bin/python -m benchmarks.change_sets [operations] [mixed]

Each round changes the price of as many records, once through a change set and once, as the floor,
through one atomic bulk call. Every tenth operation of the change set creates a record instead.
`mixed` change sets create, change and delete records and variants by turns instead, some of them
twice.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from tests.kit.servers import Servers
from tests.kit.sigma import Caller
from tests.kit.stack import Stack
from tests.kit.workspace import entries

OPERATIONS = 1_000
ROUNDS = 5
APPLIED_S = 2.0
"""The goal for 1,000 operations."""


def proposed(number: int, count: int) -> list[dict[str, Any]]:
    """The operations of one round."""
    return [
        {
            "type": "create" if n % 10 == 0 else "update",
            "schemaId": "schema-x",
            "entityId": f"ent-{number}-{n}" if n % 10 == 0 else f"ent-{n}",
            "changes": [{"attribute": "price", "newValue": number * 10 + n}],
        }
        for n in range(count)
    ]


def mixed(number: int, count: int) -> list[dict[str, Any]]:
    """The operations of one round, none of the kind of the one before it."""
    operations: list[dict[str, Any]] = []
    price = [{"attribute": "price", "newValue": number}]
    name = [{"attribute": "name", "newValue": f"n-{number}"}]
    for n in range(0, count, 8):
        new, old, variant = f"ent-{number}-{n}", f"ent-{n}", f"var-{number}-{n}"
        operations += [
            {"type": "create", "schemaId": "schema-x", "entityId": new, "changes": price},
            {"type": "update", "entityId": old, "changes": price},
            {"type": "create", "entityId": new, "variantId": variant, "changes": price},
            {"type": "update", "entityId": new, "changes": name},
            {"type": "update", "entityId": new, "variantId": variant, "changes": name},
            {"type": "update", "entityId": old, "changes": name},
            {"type": "delete", "entityId": f"ent-{number - 1}-{n}"},
            {"type": "update", "entityId": f"ent-{n + 1}", "changes": price},
        ]
    return operations[:count]


async def one_round(admin: Caller, number: int, count: int, *, is_mixed: bool) -> dict[str, float]:
    """Step -> seconds."""
    took: dict[str, float] = {}

    async def step(name: str, method: str, path: str, body: Any = None) -> None:
        began = time.perf_counter()
        (await admin.ask(method, path, body)).ok()
        took[name] = time.perf_counter() - began

    path = f"/change-sets/cs-{number}"
    operations = (mixed if is_mixed else proposed)(number, count)
    body = {"id": f"cs-{number}", "operations": operations}
    await step("propose", "POST", "/change-sets", body)
    await step("read", "GET", path)
    await step("submit", "POST", f"{path}/submit")
    await step("approve", "POST", f"{path}/approve")
    await step("apply", "POST", f"{path}/apply", {})
    rows = [
        {"id": f"ent-{n}", "values": entries({"price": -number * 10 - n})} for n in range(count)
    ]
    await step("floor: bulk", "POST", "/records/bulk?mode=atomic", {"operations": rows})
    return took


async def measure(count: int, *, is_mixed: bool = False) -> None:
    """Print the medians of all steps."""
    servers = Servers(own=True)
    stack = await asyncio.to_thread(Stack, servers, Path(tempfile.mkdtemp(prefix="bench-")))
    try:
        await asyncio.to_thread(stack.wait_ready)
        async with stack.lent():
            workspace = await stack.workspace(record_limit=10_000_000)
            await workspace.attribute("price", "number")
            await workspace.attribute("name")
            await workspace.schema("x", ["price", "name"], variantEnabled=True)
            ids = [*(f"ent-{n}" for n in range(count)), *(f"ent-0-{n}" for n in range(0, count, 8))]
            rows = [
                {"id": record_id, "schemaId": "schema-x", "values": entries({"price": 0})}
                for record_id in ids
            ]
            (await workspace.admin.post("/records/bulk", {"operations": rows})).ok()
            steps: dict[str, list[float]] = defaultdict(list)
            for number in range(1, ROUNDS + 1):
                took = await one_round(workspace.admin, number, count, is_mixed=is_mixed)
                for name, seconds in took.items():
                    steps[name].append(seconds)
            for name, taken in steps.items():
                print(f"{name:12} {median(taken):6.2f} s (max {max(taken):.2f})")
            if count == OPERATIONS:
                reached = median(steps["apply"]) <= APPLIED_S
                print(f"goal for apply: {APPLIED_S} s: {'reached' if reached else 'missed'}")
    finally:
        await asyncio.to_thread(stack.close)
        await asyncio.to_thread(servers.close)


if __name__ == "__main__":
    number_of = int(sys.argv[1]) if len(sys.argv) > 1 else OPERATIONS
    asyncio.run(measure(number_of, is_mixed="mixed" in sys.argv))

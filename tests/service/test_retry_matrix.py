"""Every write of the route tables, as a dry run and with an Idempotency-Key.

A new route is asked as soon as it is declared, with its example, which the demo catalogue takes.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.kit.demo import seed_demo
from tests.kit.described import GUARDED, Operation
from tests.kit.direct import DirectServices
from tests.kit.dumps import differences, dump
from tests.kit.sigma import Answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

WRITES = tuple(one for one in GUARDED if one.method != "GET")
FOUND_OUT_LATER = ("/sync", "/push", "/pull")
"""What these do comes after their answer; a dry run says it at once."""
MADE_UP = re.compile(
    r"[a-z]+-[0-9A-Za-z_-]{12,}|[0-9]{4}-[0-9]{2}-[0-9]{2}T.*Z|\S{30,}"  # ids, times and secrets
)


async def test_every_write_can_be_tried_and_repeated(direct: DirectServices):
    workspace = await direct.workspace()
    await seed_demo(workspace)
    databases = {name: service.database for name, service in direct.running.items()}

    async def ask(operation: Operation, headers: dict[str, str]) -> Answer:
        body = operation.body if operation.example is None else operation.example
        # Each time with an identity of its own: all of them take longer than one lives.
        return await operation.send(workspace.admin.having(headers), body)

    written = 0
    for operation in sorted(WRITES, key=lambda one: one.method == "DELETE"):
        key = f"{operation.method}:{operation.path}"
        before = await dump(databases)
        tried = await ask(operation, {"Prefer": "dry-run", "Idempotency-Key": "dry"})
        assert differences(before, await dump(databases)) == {}, operation
        assert tried.headers.get("Preference-Applied") == "dry-run", operation

        first = await ask(operation, {"Idempotency-Key": key})
        if operation.path.endswith(FOUND_OUT_LATER):
            # One of a channel runs at a time, and that of the operation before may be running.
            assert (tried.status, first.status in (200, 409)) == (200, True), operation
        elif operation.route.tried is None or first.status >= 400:
            assert shape_of(tried) == shape_of(first), operation
        else:
            assert (tried.status, first.status) == (200, operation.route.status), operation
        assert "Idempotency-Replayed" not in first.headers
        if first.status >= 400 or not operation.route.replayable:
            continue
        written += 1
        before = await dump(databases)
        again = await ask(operation, {"Idempotency-Key": key})
        assert again.outcome == first.outcome, operation
        assert again.headers["Idempotency-Replayed"] == "true", operation
        for name in ("ETag", "Location", "Content-Type"):
            assert again.headers.get(name) == first.headers.get(name), operation
        assert differences(before, await dump(databases)) == {}, operation
    assert written > len(WRITES) // 2


def shape_of(answer: Answer) -> Any:
    """The answer without what differs each time."""
    return answer.status, answer.headers.get("ETag"), _masked(answer.body)


def _masked(value: Any) -> Any:
    match value:
        case dict():
            return {name: _masked(member) for name, member in value.items()}
        case list():
            return [_masked(item) for item in value]
        case str() if MADE_UP.fullmatch(value):
            return "made up"
    return value

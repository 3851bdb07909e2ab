"""Uploaded files, bulk operations and their results, of the test shop."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from graphql import execute_sync, parse

from tests.kit.shopify.resolvers import SCHEMA, Root, now

AT_ONCE = 5


@dataclass
class Operation:
    id: str
    mutation: str
    status: str = "CREATED"
    error_code: str | None = None
    created: str = field(default_factory=now)
    completed: str | None = None
    results: list[dict[str, Any]] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Operations:
    """Runs a mutation for each line of a file, in a task of its own."""

    def __init__(self, base: str) -> None:
        self.files: dict[str, bytes] = {}
        self.all: dict[str, Operation] = {}
        self.may_run = asyncio.Event()
        """Cleared, operations that are started wait before their next line."""
        self.may_run.set()
        self.fail_after: int | None = None
        """Lines after which the next operation fails, with its results so far."""
        self._keys: set[str] = set()
        self._base = base
        self._tasks: set[asyncio.Task[None]] = set()
        self.root: Root

    def new_key(self, filename: str) -> str:
        key = f"tmp/1/bulk/{secrets.token_hex(8)}/{filename}"
        self._keys.add(key)
        return key

    def received(self, key: str, content: bytes) -> bool:
        """Keep an uploaded file; false for a key that was not given out."""
        if key not in self._keys:
            return False
        self.files[key] = content
        return True

    @property
    def running(self) -> list[Operation]:
        return [one for one in self.all.values() if one.status in {"CREATED", "RUNNING"}]

    def refusal(self, path: str) -> tuple[str, str] | None:
        if len(self.running) >= AT_ONCE:
            return "OPERATION_IN_PROGRESS", "Other bulk mutations are running."
        if path not in self.files:
            return "NO_SUCH_FILE", "The JSONL file could not be found."
        try:
            [json.loads(line) for line in self.files[path].splitlines()]
        except ValueError:
            return "INVALID_STAGED_UPLOAD_FILE", "The JSONL file is invalid."
        return None

    def run(self, mutation: str, path: str) -> dict[str, Any]:
        number = 5_000 + len(self.all)
        operation = Operation(f"gid://shopify/BulkOperation/{number}", mutation)
        self.all[operation.id] = operation
        task = asyncio.get_running_loop().create_task(self._run(operation, self.files[path]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        shown = self.shown(operation.id)
        assert shown
        return shown

    def shown(self, operation_id: str) -> dict[str, Any] | None:
        operation = self.all.get(operation_id)
        if operation is None:
            return None
        url = f"{self._base}/results/{operation_id.rpartition('/')[2]}.jsonl"
        return {
            "__typename": "BulkOperation",
            "id": operation.id,
            "status": operation.status,
            "errorCode": operation.error_code,
            "type": "MUTATION",
            "query": operation.mutation,
            "createdAt": operation.created,
            "completedAt": operation.completed,
            "objectCount": len(operation.results),
            "rootObjectCount": len(operation.results),
            "fileSize": None,
            "url": url if operation.status == "COMPLETED" else None,
            "partialDataUrl": url if operation.status == "FAILED" else None,
        }

    def results(self, number: str) -> bytes | None:
        operation = self.all.get(f"gid://shopify/BulkOperation/{number}")
        if operation is None or operation.completed is None:
            return None
        # In no order that may be relied on.
        return b"".join(json.dumps(row).encode() + b"\n" for row in reversed(operation.results))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, operation: Operation, content: bytes) -> None:
        fail_after, self.fail_after = self.fail_after, None
        operation.status = "RUNNING"
        document = parse(operation.mutation)
        for number, line in enumerate(content.splitlines()):
            await asyncio.sleep(0)
            await self.may_run.wait()
            if number == fail_after:
                operation.status, operation.error_code = "FAILED", "INTERNAL_SERVER_ERROR"
                break
            result = execute_sync(SCHEMA, document, self.root, variable_values=json.loads(line))
            operation.results.append({**result.formatted, "__lineNumber": number})
        else:
            operation.status = "COMPLETED"
        operation.completed = now()
        operation.done.set()

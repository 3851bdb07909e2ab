"""A follower of the feed, as tests need it: pages, streams, and a copy that it keeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
import orjson

from tests.kit.eventually import eventually
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller

STREAM = {"Accept": "text/event-stream"}
PATIENCE_S = 60


async def now(workspace: RecordsWorkspace) -> str:
    """A token for what happens from now on: all that has happened is before it."""
    await eventually(lambda: all_is_placed(workspace))
    token: str = (await workspace.admin.get("/changes")).ok()["next"]
    return token


async def all_is_placed(workspace: RecordsWorkspace) -> bool:
    """Whether all that was committed is in the feed."""
    rows = await workspace.fetch(
        """
        SELECT count(*) FROM outbox o
         WHERE o.workspace_id = $1 AND o.type <> 'records.job'
           AND NOT EXISTS (SELECT FROM feed f
                            WHERE f.workspace_id = $1 AND f.outbox_id = o.id)"""
    )
    return bool(rows[0]["count"] == 0)


async def changes(caller: Caller, after: str, count: int, *, limit: int = 100) -> list[Any]:
    """So many events behind a token; waits for those that are not there yet."""
    found, _ = await changes_until(caller, after, count, limit=limit)
    return found


async def changes_until(
    caller: Caller, after: str, count: int, *, limit: int = 100
) -> tuple[list[Any], str]:
    """So many events, and the token behind them."""
    found: list[Any] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < count:
            page = (await caller.get(f"/changes?after={after}&limit={limit}&wait=1")).ok()
            found += page["items"]
            after = page["next"]
    return found, after


def told(events: list[Any]) -> list[tuple[str, str, int]]:
    """Type, subject and version of each."""
    return [(each["type"], each["subject"], each["data"]["version"]) for each in events]


@dataclass
class Stream:
    """A stream of server-sent events."""

    response: aiohttp.ClientResponse
    comments: int = 0
    last_id: str = ""
    _lines: list[str] = field(default_factory=list)

    async def event(self) -> tuple[str, Any]:
        """The next event, with its id; `EOFError` where the stream has ended."""
        data, token = "", ""
        async with asyncio.timeout(PATIENCE_S):
            while line := (await self.response.content.readline()).decode():
                if line.startswith("data: "):
                    data = line[6:]
                elif line.startswith("id: "):
                    token = self.last_id = line[4:].strip()
                elif line.startswith(":"):
                    self.comments += 1
                elif line == "\n" and data:
                    return token, orjson.loads(data)
        raise EOFError


@asynccontextmanager
async def stream(
    caller: Caller, query: str = "", headers: dict[str, str] | None = None
) -> AsyncIterator[Stream]:
    """A stream of server-sent events, open until the block ends."""
    async with (
        aiohttp.ClientSession(read_bufsize=1 << 20) as session,
        session.get(
            f"{caller.url}/api/v1/changes{query}",
            headers={**caller.headers, **STREAM, **(headers or {})},
        ) as response,
    ):
        assert response.status == 200, await response.text()
        yield Stream(response)


@dataclass
class Mirror:
    """A copy of the records and variants of a workspace, as a follower keeps it."""

    token: str
    items: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    async def of(cls, caller: Caller, query: str = "") -> Self:
        """The copy that a snapshot makes."""
        answer = await caller.get(f"/changes/snapshot{query}")
        first, *lines = map(orjson.loads, answer.ok().splitlines())
        assert set(first) == {"token"}
        mirror = cls(first["token"])
        for line in lines:
            mirror.items[line["id"]] = {
                "version": line["version"],
                "state": line.get("lifecycleStateId"),
                "values": _values(line["values"]),
            }
        return mirror

    async def follow(self, caller: Caller) -> int:
        """Read on to the end; how many events that were."""
        count = 0
        while True:
            page = (await caller.get(f"/changes?after={self.token}&limit=50")).ok()
            for event in page["items"]:
                self.apply(event)
            count += len(page["items"])
            self.token = page["next"]
            if not page["more"]:
                return count

    def apply(self, event: Any) -> None:
        """Take an event over, unless the copy has it already."""
        kind, _, what = event["type"].partition(".")
        if kind not in ("entity", "variant"):
            return
        data, item_id = event["data"], event["subject"]
        known = self.items.get(item_id)
        if known is not None and known["version"] >= data["version"]:
            return
        if what == "deleted":
            self.items.pop(item_id, None)
            return
        if what == "created":
            known = self.items[item_id] = {"values": {}}
        if known is None:
            # It was deleted before the snapshot came to it: the event of that is yet to come.
            return
        known["version"] = data["version"]
        known["state"] = data["lifecycleStateId"] if kind == "entity" else None
        for change in data["changes"]:
            key = (change["attribute"], orjson.dumps(change["scope"], option=orjson.OPT_SORT_KEYS))
            if change["newValue"] is None:
                known["values"].pop(key, None)
            else:
                known["values"][key] = change["newValue"]


def _values(values: dict[str, Any]) -> dict[tuple[str, bytes], Any]:
    return {
        (alias, orjson.dumps(entry["scope"], option=orjson.OPT_SORT_KEYS)): entry["value"]
        for alias, entries in values.items()
        for entry in entries
    }

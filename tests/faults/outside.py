"""Records that leave the system: what they are, and what has come of them at the other side."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import asyncpg

from tests.faults.background import asked
from tests.faults.history import TOKEN
from tests.faults.scene import Scene
from tests.kit.eventually import eventually
from tests.kit.stack import WORKFLOW
from tests.kit.workspace import entries

AT_ONCE: Final = 500
LOOKED_EVERY_S: Final = 0.02


class Stored:
    """Records of a schema that nobody else writes; `tokens` are what they have now."""

    def __init__(self, scene: Scene, alias: str) -> None:
        self.tokens: dict[str, str] = {}
        self.schema = f"schema-{alias}"
        self._scene = scene
        self._alias = alias
        self._changed = 0

    async def create(self, count: int) -> None:
        """The schema, and so many records."""
        scene = self._scene
        await scene.workspace.schema(self._alias, ["name"], workflow="wf-lifecycle")
        ids = [f"ent-{scene.name}-{self._alias}-{n}" for n in range(count)]
        for begin in range(0, count, AT_ONCE):
            some = ids[begin : begin + AT_ONCE]
            records = [
                {
                    "id": one,
                    "schemaId": self.schema,
                    "values": entries({"name": self._token(one)}),
                }
                for one in some
            ]
            body, key = {"operations": records}, {"Idempotency-Key": f"{self._alias}-{begin}"}

            async def made(body: Any = body, key: dict[str, str] = key) -> bool:
                answer = await scene.admin.post("/records/bulk?mode=atomic", body, headers=key)
                assert answer.status < 300, answer.outcome
                return True

            await eventually(made, 60)
            for one in some:
                scene.acknowledge(self.tokens[one])

    async def change(self, every: int) -> int:
        """Give each so many-th record a new token; how many that are."""
        self._changed += 1
        chosen = list(self.tokens)[self._changed % every :: every]
        places = asyncio.Semaphore(8)

        async def change(one: str) -> None:
            async with places:
                path = f"/records/{one}/values/name"
                (await self._scene.admin.patch(path, {"value": self._token(one)})).ok()
                self._scene.acknowledge(self.tokens[one])

        await asyncio.gather(*map(change, chosen))
        return len(chosen)

    def owner(self, token: str) -> str:
        """The record that has or had this token; the token itself if none did."""
        head, _, version = token.rpartition("-")
        return head.removeprefix(TOKEN) if version.isdecimal() else token

    def _token(self, record: str) -> str:
        self.tokens[record] = f"{TOKEN}{record}-{self._changed}"
        return self.tokens[record]


class Watched:
    """A folder of files of JSON lines, watched while runs write to it."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.half: list[str] = []
        self._folder = folder
        self._rows = rows
        self._seen: set[tuple[str, int, int, int]] = set()

    @property
    def hidden(self) -> list[Path]:
        """What no program that reads the folder takes for a file."""
        return [one for one in self._folder.iterdir() if one.name.startswith(".")]

    @property
    def visible(self) -> list[Path]:
        return [one for one in self._folder.iterdir() if not one.name.startswith(".")]

    async def watch(self) -> None:
        """Until it is cancelled, look at each file whenever it has changed."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(LOOKED_EVERY_S)

    def look(self) -> None:
        """Note each file that is not whole."""
        for file in self.visible:
            with file.open("rb") as opened:
                content = opened.read()
                at = file.stat()
            look = (file.name, at.st_ino, at.st_mtime_ns, len(content))
            if look in self._seen:
                continue
            self._seen.add(look)
            lines = content.count(b"\n")
            if lines != self._rows or not content.endswith(b"\n"):
                self.half.append(f"{file.name} was seen with {lines} of {self._rows} lines")


def found_in(file: Path) -> list[tuple[str, str]]:
    """The record and the token of each line of a file."""
    found = []
    for line in file.read_text().splitlines():
        record = json.loads(line)
        (value,) = record["values"]["name"]
        found.append((record["id"], value["value"]))
    return found


async def execute(scene: Scene, statement: str, *arguments: Any) -> None:
    """As if time had passed: a statement in the database of workflow_service."""
    conn = await asyncpg.connect(scene.stack.databases[WORKFLOW])
    try:
        await conn.execute(statement, *arguments)
    finally:
        await conn.close()


async def read(scene: Scene, path: str) -> Any:
    """The body of the answer, as soon as there is one."""
    found: Any = None

    async def there() -> bool:
        nonlocal found
        answer = await asked(scene, "GET", path)
        if answer is not None and answer.status == 200:
            found = answer.body
        return found is not None

    await eventually(there, 60)
    return found


async def waited_for(
    ask: Callable[[], Awaitable[Mapping[str, Any]]], within_s: float
) -> Mapping[str, Any]:
    """A run or a log when it has ended, or as it is after that time."""
    job: Mapping[str, Any] = {}

    async def ended() -> bool:
        nonlocal job
        job = await ask()
        return bool(job["status"] != "running")

    with suppress(AssertionError):
        await eventually(ended, within_s)
    return job

"""The process that runs export jobs dies in the middle of them, again and again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from tests.faults.experiments import Form
from tests.faults.history import Copy, Effects, Recovery
from tests.faults.outside import Stored, Watched, execute, found_in, read, waited_for
from tests.faults.scene import Scene
from tests.kit.eventually import eventually
from tests.kit.file_servers import SftpServer, sshd
from tests.kit.stack import WORKFLOW

ENDED_WITHIN_S: Final = 60.0
"""From the start of a process after the kill, where the lease has ended."""
DUE: Final = """
    WITH due AS (UPDATE export_jobs SET next_run_at = clock_timestamp()
                  WHERE workspace_id = $1 AND id = $2)
    SELECT pg_notify('export_jobs', '')
"""
LEASES_ENDED: Final = """
    UPDATE export_runs SET leased_until = now() WHERE workspace_id = $1 AND status = 'running'
"""


class Export:
    """A job that puts a file of records on a real SFTP server whenever it is due."""

    def __init__(self, scene: Scene, server: SftpServer, stored: Stored, job: str) -> None:
        self.folder = Watched(server.files, len(stored.tokens))
        self.stored = stored
        self._scene = scene
        self._server = server
        self._job = job
        self._due = 0

    async def begin(self) -> None:
        """Let it be due, once, and wait until its file is on its way."""
        self._due += 1
        files = len(self.folder.visible)
        await execute(self._scene, DUE, self._scene.id, self._job)
        await eventually(
            lambda: self.folder.hidden or len(self.folder.visible) > files, 30, "an export"
        )

    async def runs(self) -> list[Mapping[str, Any]]:
        """All runs, newest first."""
        found: list[Mapping[str, Any]] = await read(self._scene, f"/export-jobs/{self._job}/runs")
        return found

    async def ended(self, within_s: float) -> None:
        """Wait for the newest run, and compare its file with the records."""

        async def newest() -> Mapping[str, Any]:
            return (await self.runs())[0]

        run = await waited_for(newest, within_s)
        told = {name: run[name] for name in ("status", "recordCount", "error")}
        rows = len(self.stored.tokens)
        if told != {"status": "success", "recordCount": rows, "error": None}:
            self._scene.found.unfinished.append(f"export run {self._due} ended as {told}")
            return
        file = Path(run["destinationPath"])
        found = await asyncio.to_thread(found_in, file)
        self._scene.found.copies[f"file {self._due}"] = Copy(dict(self.stored.tokens), found)

    async def reckon(self) -> None:
        """What all runs have left."""
        runs = await self.runs()
        successes = [run for run in runs if run["status"] == "success"]
        found = self._scene.found
        found.effects["due times of the export"] = Effects(
            {}, {}, counted=len(successes), events=self._due
        )
        found.half_files += self.folder.half
        paths = {Path(run["destinationPath"]).name for run in successes}
        there = {file.name for file in self.folder.visible}
        if there != paths:
            found.unfinished.append(f"runs tell of {sorted(paths)}, there are {sorted(there)}")
        if left := self.folder.hidden:
            found.unfinished.append(f"{len(left)} hidden files were left")


@asynccontextmanager
async def exporting(scene: Scene, rows: int) -> AsyncIterator[Export]:
    """A job with so many records. It is due when it is told so, and once in a year."""
    program = sshd()
    assert program is not None, "there is no sshd on this machine"
    stored = Stored(scene, "exported")
    await stored.create(rows)
    folder = scene.folder / "sftp"
    folder.mkdir()
    server = SftpServer(folder, program)
    try:
        job = await scene.admin.post(
            "/export-jobs",
            {
                "name": "Faults",
                "destinationType": "sftp",
                "destinationConfig": server.config(),
                "format": "jsonl",
                "schemaId": stored.schema,
                "schedule": "0 0 1 1 *",
            },
        )
        export = Export(scene, server, stored, job.ok()["id"])
        watching = asyncio.create_task(export.folder.watch())
        try:
            yield export
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    finally:
        await asyncio.to_thread(server.close)


async def kill_in_export_runs(scene: Scene, form: Form) -> None:
    """Each due time has one run, which is killed once or twice and ends all the same."""
    chance = random.Random(scene.name)
    loop = asyncio.get_running_loop()
    killed = 0
    async with exporting(scene, form.rows // 2) as export:
        for number in range(form.server_kills):
            await export.begin()
            for _ in range(1 + number % 2):
                await asyncio.sleep(chance.uniform(0.0, 0.1))
                await scene.stack.kill(WORKFLOW)
                killed += bool(export.folder.hidden)
                # The lease of a process that is gone lasts up to 30 seconds; here it ends at once.
                await execute(scene, LEASES_ENDED, scene.id)
                began = loop.time()
                await scene.stack.start(WORKFLOW)
            await export.ended(2 * ENDED_WITHIN_S)
            took = Recovery("export run killed: ended", loop.time() - began, ENDED_WITHIN_S)
            scene.found.recoveries.append(took)
        await export.reckon()
    if not killed:
        scene.found.unfinished.append("no kill met an export run")

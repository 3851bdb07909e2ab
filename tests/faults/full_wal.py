"""The volume of PostgreSQL's write-ahead log has no space left, and then gets some.

The log is moved to a small file system in memory for as long as the experiment takes, and all that
is left of its space is given to another file.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import asyncpg

from deploy.local.servers import PrivatePostgres
from tests.faults.experiments import POSTGRES_KILLED, Form, postgres
from tests.faults.scene import Scene
from tests.kit.eventually import eventually

VOLUME_MB: Final = 192
CHUNK: Final = bytes(1 << 20)
FULL_WITHIN_S: Final = 60.0


async def fill_the_wal(scene: Scene, form: Form) -> None:
    """PostgreSQL ends where its log has no room, and is started again when there is some."""
    server: PrivatePostgres = postgres(scene)
    async with _wal_on_a_small_volume(server) as volume:
        await scene.recovered("log moved", POSTGRES_KILLED)
        ballast = volume / "ballast"
        await asyncio.to_thread(_fill, ballast)
        await eventually(lambda: _used_up(server), FULL_WITHIN_S)
        await asyncio.sleep(form.away_s)
        ballast.unlink()
        await asyncio.to_thread(server.start)
        await scene.recovered("volume of the log full", POSTGRES_KILLED)
    await scene.recovered("log moved back", POSTGRES_KILLED)


async def _used_up(server: PrivatePostgres) -> bool:
    """Whether the server has ended; begins a new segment of the log otherwise."""
    with suppress(asyncpg.PostgresError, OSError, TimeoutError):
        conn = await asyncpg.connect(server.url, timeout=5)
        try:
            await conn.fetchval("SELECT pg_switch_wal()", timeout=5)
        finally:
            conn.terminate()
    return not server.running


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(CHUNK) == len(CHUNK):
            pass


@asynccontextmanager
async def _wal_on_a_small_volume(server: PrivatePostgres) -> AsyncIterator[Path]:
    """Where the log is meanwhile. The server is stopped and started again for it, twice."""
    wal, volume = server.folder / "data" / "pg_wal", server.folder / "small-volume"
    owner = wal.stat()
    options = f"size={VOLUME_MB}m,mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
    volume.mkdir()

    def move_there() -> None:
        server.stop()
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", volume], check=True)
        subprocess.run(["cp", "-a", f"{wal}/.", volume], check=True)
        shutil.rmtree(wal)
        wal.symlink_to(volume)
        server.start()

    def move_back() -> None:
        server.stop()
        wal.unlink()
        subprocess.run(["cp", "-a", volume, wal], check=True)
        subprocess.run(["umount", volume], check=True)
        volume.rmdir()
        server.start()

    await asyncio.to_thread(move_there)
    try:
        yield volume
    finally:
        await asyncio.to_thread(move_back)

"""The documented example consumer (docs/how-to/example_consumer.py) as a process of its own.

It shows what the documented rules make of the events: its count of changes betrays an event that
is lost or takes effect twice.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg

from deploy.local.child_process import ChildProcess
from shared.process.hosts import each_host
from tests.kit.eventually import eventually
from tests.kit.servers import ROOT

PROGRAM = ROOT / "docs" / "how-to" / "example_consumer.py"


class ExampleConsumer:
    """Started with `start`, ended with `close`; its database is there already, and empty."""

    def __init__(self, amqp_url: str, database_url: str, folder: Path) -> None:
        self._open = AsyncExitStack()
        self._amqp_url = amqp_url
        self._database_url = database_url
        self._log = folder / "example_consumer.log"

    async def start(self) -> None:
        """It listens when this returns."""
        env = {name: one for name, one in os.environ.items() if not name.startswith("SIGMA_")}
        env |= {
            "SIGMA_AMQP_URL": " ".join(each_host(self._amqp_url)),
            "FOLLOWER_DATABASE_URL": self._database_url,
        }
        process = ChildProcess([sys.executable, str(PROGRAM)], env, self._log, guard="KILL")
        self._open.push_async_callback(asyncio.to_thread, process.end, signal.SIGTERM, 5.0)
        self._database = await asyncpg.create_pool(self._database_url, min_size=0, max_size=1)
        self._open.push_async_callback(self._database.close)
        await eventually(lambda: "following" in self._log.read_text(), 30)

    async def close(self) -> None:
        await self._open.aclose()

    async def followed(self, workspace_id: str) -> dict[str, int]:
        """Record id -> the version that it knows."""
        rows = await self._database.fetch(
            "SELECT record_id, version FROM followed_records WHERE workspace_id = $1", workspace_id
        )
        return {row["record_id"]: row["version"] for row in rows}

    async def changes(self, workspace_id: str) -> int:
        """How many events have had their effect."""
        changes = await self._database.fetchval(
            "SELECT changes FROM activity WHERE workspace_id = $1", workspace_id
        )
        return int(changes or 0)

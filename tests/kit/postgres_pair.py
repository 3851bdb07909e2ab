"""A PostgreSQL primary and its synchronous standby, which can change places.

pair = PostgresPair(folder)
pair.start()
pair.url                # both servers in one address; the one that takes writes is used
pair.kill_primary()
pair.promote()          # seconds until the standby took writes
pair.rejoin()           # the old primary becomes the standby of the new one
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from deploy.local.failure import StartFailed
from deploy.local.private_server import plain_environment, run_apart
from deploy.local.servers import PrivatePostgres

CAUGHT_UP_WITHIN_S = 60.0
POLL_S = 0.02


class Member(PrivatePostgres):
    """A server that can copy its data from another one, which it follows from then on."""

    _followed: PrivatePostgres | None = None

    def follow(self, primary: PrivatePostgres) -> None:
        """From the next start on, whatever its data were."""
        self.settle_in()
        self._remember(password=urlsplit(primary.url).password)
        self._followed = primary
        shutil.rmtree(self.folder / "data", ignore_errors=True)

    def _make(self, programs: Path, data: Path) -> None:
        if self._followed is None:
            super()._make(programs, data)
            return
        unfinished = data.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        source = f"{self._followed.url}?application_name=standby"
        command = [str(programs / "pg_basebackup"), "-D", str(unfinished), "-d", source]
        done = subprocess.run(
            [*command, "-X", "stream", "-c", "fast", "--write-recovery-conf"],
            env=plain_environment(),
            capture_output=True,
            text=True,
            check=False,
            **self._as_user(),
        )
        if done.returncode != 0:
            raise StartFailed(self.part, f"pg_basebackup failed:\n{done.stderr.strip()}")
        unfinished.rename(data)


class PostgresPair:
    """Both servers. It stands where a private server is expected: it can be started and stopped."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        """`settings` are those of both servers."""
        self.primary = Member(folder / "a", settings)
        self.standby = Member(folder / "b", settings)
        self._servers = (self.primary, self.standby)

    @property
    def url(self) -> str:
        """Of the database `postgres` of the one that takes writes."""
        at = urlsplit(self.primary.url)
        user, _, _ = at.netloc.rpartition("@")
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in self._servers)
        query = "target_session_attrs=read-write"
        return urlunsplit(at._replace(netloc=f"{user}@{hosts}", query=query))

    @property
    def running(self) -> bool:
        return all(server.running for server in self._servers)

    def start(self) -> None:
        """Return when the standby follows, and every commit waits for it."""
        if not self.primary.running:
            self.primary.start()
        self.rejoin()

    def stop(self) -> None:
        for server in self._servers:
            server.kill()

    def kill_primary(self) -> None:
        """All of its processes, as with their container or machine.

        Without their parent they would end by themselves, but not one that waits for a lock in
        shared memory which a process held that was killed.
        """
        assert self.primary.pid is not None
        processes = _descendants(self.primary.pid)
        self.primary.kill()
        for pid in processes:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def demote_primary(self) -> None:
        """It lives, and takes no more writes; all sessions go on. Returns when the other has all.

        Transactions that had begun may still commit, so it waits for them as well.
        """
        run_apart(_set(self.primary.url, "default_transaction_read_only", "on"))
        self._wait(
            self.primary.url,
            """SELECT NOT EXISTS (SELECT FROM pg_stat_activity
                                   WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid())
                  AND NOT EXISTS (SELECT FROM pg_stat_replication
                                   WHERE replay_lsn IS DISTINCT FROM pg_current_wal_lsn())""",
        )

    def promote(self) -> float:
        """Let the standby take writes, alone; how many seconds that took."""
        began = time.monotonic()
        # Nobody follows it yet, so that nobody could confirm.
        run_apart(_set(self.standby.url, "synchronous_standby_names", ""))
        run_apart(_ask(self.standby.url, "SELECT pg_promote(true, 60)"))
        self.primary, self.standby = self.standby, self.primary
        return time.monotonic() - began

    def rejoin(self) -> None:
        """The other one, whatever it was, becomes the standby, and every commit waits for it."""
        standby = self.standby
        standby.kill()
        standby.follow(self.primary)
        standby.start()
        run_apart(_set(self.primary.url, "synchronous_standby_names", "ANY 1 (standby)"))
        self._wait(
            self.primary.url,
            "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'quorum')",
        )

    def stall(self) -> None:
        """The primary sends its standby nothing more until it is killed: commits wait."""
        sender = run_apart(_ask(self.primary.url, "SELECT pid FROM pg_stat_replication"))
        os.kill(sender, signal.SIGSTOP)

    def _wait(self, url: str, condition: str) -> None:
        ends = time.monotonic() + CAUGHT_UP_WITHIN_S
        while not run_apart(_ask(url, condition)):
            assert time.monotonic() < ends, f"not within {CAUGHT_UP_WITHIN_S:.0f} s: {condition}"
            time.sleep(POLL_S)


def _descendants(pid: int) -> list[int]:
    """The processes that this one has started, and those that they have."""
    with suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [one for child in map(int, children) for one in (child, *_descendants(child))]
    return []


async def _ask(url: str, query: str) -> Any:
    conn = await asyncpg.connect(url, timeout=10)
    try:
        return await conn.fetchval(query)
    finally:
        await conn.close()


async def _set(url: str, name: str, value: str) -> None:
    conn = await asyncpg.connect(url, timeout=10)
    try:
        await conn.execute("SET default_transaction_read_only = off")
        await conn.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        await conn.fetchval("SELECT pg_reload_conf()")
    finally:
        await conn.close()
    # A reload is a signal, not an answer.
    await asyncio.sleep(0.2)

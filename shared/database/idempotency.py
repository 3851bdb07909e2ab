"""The answers that are kept for an `Idempotency-Key`, beside the effect of their request.

The row is written in the transaction of the effect: no effect without it, none without an effect.
`claim` lets one request with a key run at a time; where it cannot, because the processes are
connected to different nodes, the primary key does, at the end.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import structlog

from shared.database.connection import Conn
from shared.database.pool import Database
from shared.errors import ServiceUnavailable, UpstreamTimeout

log = structlog.get_logger(__name__)

SCHEMA: Final = """
CREATE TABLE idempotency_keys (
    workspace_id text        NOT NULL,
    caller       text        NOT NULL,
    key          text        NOT NULL,
    fingerprint  bytea       NOT NULL,
    status       integer     NOT NULL,
    headers      json        NOT NULL,
    body         bytea       NOT NULL,
    in_parts     boolean     NOT NULL,
    stored_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, caller, key)
)
"""
"""For a migration. `caller` is a user or an API key; `body` is compressed (zlib)."""
INDEX: Final = "CREATE INDEX idempotency_keys_by_age ON idempotency_keys (stored_at)"

REMOVED_AT_ONCE: Final = 1_000
REMOVAL_EVERY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose key it is; the database is that of one service, which is part of the scope, too."""

    workspace_id: str
    caller: str
    key: str

    @property
    def lock(self) -> int:
        """The number of its advisory lock."""
        text = f"idempotency key\n{self.workspace_id}\n{self.caller}\n{self.key}"
        return int.from_bytes(sha256(text.encode()).digest()[:8], signed=True)


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer, and the fingerprint of the request that it answered."""

    fingerprint: bytes
    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes
    """Compressed."""
    in_parts: bool


async def find(conn: Conn, scope: Scope, kept_s: float) -> KeptAnswer | None:
    """The answer that was stored for a key within the last so many seconds."""
    row = await conn.fetchrow(
        """
        SELECT fingerprint, status, headers, body, in_parts
          FROM idempotency_keys
         WHERE workspace_id = $1 AND caller = $2 AND key = $3
           AND stored_at > now() - make_interval(secs => $4)
        """,
        scope.workspace_id,
        scope.caller,
        scope.key,
        kept_s,
    )
    if row is None:
        return None
    return KeptAnswer(
        row["fingerprint"],
        row["status"],
        [(name, value) for name, value in row["headers"]],
        row["body"],
        row["in_parts"],
    )


async def claim(conn: Conn, scope: Scope) -> bool:
    """Claim a key until the end of the transaction; False if another request has claimed it."""
    claimed: bool = await conn.fetchval("SELECT pg_try_advisory_xact_lock($1)", scope.lock)
    return claimed


async def store(conn: Conn, scope: Scope, answer: KeptAnswer, kept_s: float) -> bool:
    """Keep an answer, in the place of one that is too old; False if there is another one."""
    stored = await conn.fetchval(
        """
        INSERT INTO idempotency_keys AS known
               (workspace_id, caller, key, fingerprint, status, headers, body, in_parts)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
            ON CONFLICT (workspace_id, caller, key)
            DO UPDATE SET fingerprint = excluded.fingerprint, status = excluded.status,
                          headers = excluded.headers, body = excluded.body,
                          in_parts = excluded.in_parts, stored_at = excluded.stored_at
                    WHERE known.stored_at <= now() - make_interval(secs => $9)
        RETURNING true
        """,
        scope.workspace_id,
        scope.caller,
        scope.key,
        answer.fingerprint,
        answer.status,
        list(answer.headers),
        answer.body,
        answer.in_parts,
        kept_s,
    )
    return stored is not None


async def remove_old(db: Database, kept_s: float) -> int:
    """Remove some of the answers that are older than this; how many there were."""
    rows = await db.fetch(
        """
        SELECT workspace_id, caller, key
          FROM idempotency_keys
         WHERE stored_at <= now() - make_interval(secs => $1)
         ORDER BY stored_at
         LIMIT $2
        """,
        kept_s,
        REMOVED_AT_ONCE,
    )
    by_workspace: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        by_workspace.setdefault(row["workspace_id"], []).append((row["caller"], row["key"]))
    for workspace_id, keys in by_workspace.items():
        await db.execute(
            """
            DELETE FROM idempotency_keys k
             USING unnest($2::text[], $3::text[]) AS old (caller, key)
             WHERE k.workspace_id = $1 AND k.caller = old.caller AND k.key = old.key
               AND k.stored_at <= now() - make_interval(secs => $4)
            """,
            workspace_id,
            [caller for caller, _ in keys],
            [key for _, key in keys],
            kept_s,
        )
    return len(rows)


async def remove_old_for_ever(db: Database, kept_s: float) -> None:
    """Remove old answers now and then, in steps; several processes may do it at once."""
    while True:
        await db.migrated.wait()
        try:
            while await remove_old(db, kept_s) == REMOVED_AT_ONCE:
                pass
        except (ServiceUnavailable, UpstreamTimeout):
            pass
        except Exception:
            log.exception("old_answers_not_removed")
        await asyncio.sleep(REMOVAL_EVERY_S)


def compressed(body: bytes) -> bytes:
    """A body as it is stored: the fastest level, which makes JSON four times smaller."""
    return zlib.compress(body, 1)


def decompressed(body: bytes) -> bytes:
    """A stored body as it is sent."""
    return zlib.decompress(body)

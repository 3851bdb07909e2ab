"""Stores local copies of workflow definitions; the newest version wins.

Whoever changes the model here holds the model lock of the workspace.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from records_service.workflow_copies.model import Retirement, WorkflowCopy
from shared.database import Conn
from shared.errors import NotFound, truncated


async def upsert(conn: Conn, workspace_id: str, definition: dict[str, Any]) -> bool:
    """Remember a definition unless a newer one is known; True when that changed anything.

    Retired states stay so until the definition that lacks them arrives, or a later one.
    """
    kept: bool | None = await conn.fetchval(
        """
        INSERT INTO lifecycles AS known (workspace_id, workflow_id, version, definition)
        VALUES ($1, $2, $3, $4)
            ON CONFLICT (workspace_id, workflow_id)
            DO UPDATE SET version = excluded.version,
                          definition = excluded.definition,
                          retired = CASE WHEN excluded.version < known.retired_in
                                         THEN known.retired ELSE '{}' END
                    WHERE known.version < excluded.version
        RETURNING true
        """,
        workspace_id,
        definition["id"],
        definition["version"],
        definition,
    )
    return bool(kept)


async def is_newer(conn: Conn, workspace_id: str, workflow_id: str, version: int) -> bool:
    """Whether this version would be news here."""
    known: int | None = await conn.fetchval(
        "SELECT version FROM lifecycles WHERE workspace_id = $1 AND workflow_id = $2",
        workspace_id,
        workflow_id,
    )
    return known is None or known < version


async def get(conn: Conn, workspace_id: str, workflow_id: str) -> WorkflowCopy:
    """The workflow as it is known here; `NotFound` when it is not."""
    row = await conn.fetchrow(
        """
        SELECT definition, retired FROM lifecycles
         WHERE workspace_id = $1 AND workflow_id = $2
        """,
        workspace_id,
        workflow_id,
    )
    if row is None:
        raise NotFound.of("Workflow", workflow_id)
    return WorkflowCopy.parse(row["definition"], row["retired"])


async def get_many(
    conn: Conn, workspace_id: str, workflow_ids: Collection[str]
) -> dict[str, WorkflowCopy]:
    """Those of the workflows that are known here, by id."""
    rows = await conn.fetch(
        """
        SELECT definition, retired FROM lifecycles
         WHERE workspace_id = $1 AND workflow_id = ANY($2::text[])
        """,
        workspace_id,
        list(workflow_ids),
    )
    found = (WorkflowCopy.parse(row["definition"], row["retired"]) for row in rows)
    return {copy.workflow_id: copy for copy in found}


async def delete(conn: Conn, workspace_id: str, workflow_id: str, version: int) -> None:
    """The workflow was deleted at this version."""
    await conn.execute(
        "DELETE FROM lifecycles WHERE workspace_id = $1 AND workflow_id = $2 AND version <= $3",
        workspace_id,
        workflow_id,
        version,
    )


async def doubt_all(conn: Conn) -> None:
    """Whatever is heard next of a workflow is news; what is known counts until then."""
    await conn.execute("UPDATE lifecycles SET version = 0")


async def state_in_use(
    conn: Conn, workspace_id: str, workflow_id: str, state_ids: Sequence[str]
) -> tuple[str, str] | None:
    """One of these states that a record of a schema with this workflow is in, and what is.

    As long as records are moved to a state, it counts as one that a record is in.
    """
    found: list[str] | None = await conn.fetchval(
        """
        SELECT coalesce((
            SELECT ARRAY[moved.state_id, 'records of schema', s.id]
              FROM state_moves m
              JOIN schemas s ON s.workspace_id = m.workspace_id AND s.id = m.schema_id
             CROSS JOIN LATERAL jsonb_each_text(m.moves) AS moved (stored, state_id)
             WHERE m.workspace_id = $1
               AND moved.state_id = ANY($3::text[])
               AND s.body->>'workflowId' = $2
             LIMIT 1
        ), (
            SELECT ARRAY[r.state_id, 'record', r.id]
              FROM records r
              JOIN schemas s ON s.workspace_id = r.workspace_id AND s.id = r.schema_id
              LEFT JOIN state_moves m ON m.workspace_id = r.workspace_id AND m.schema_id = s.id
             WHERE r.workspace_id = $1
               AND r.state_id = ANY($3::text[])
               AND s.body->>'workflowId' = $2
               AND (m.moves ? r.state_id) IS NOT TRUE
             LIMIT 1
        ))
        """,
        workspace_id,
        workflow_id,
        list(state_ids),
    )
    if found is None:
        return None
    state_id, kind, holder_id = found
    return state_id, f"{kind} '{truncated(holder_id)}'"


async def retire(
    conn: Conn, workspace_id: str, workflow_id: str, state_ids: Sequence[str], version: int
) -> None:
    """Let no record enter these states, until the definition of this version has arrived.

    Nothing happens when it has: a request that was overtaken would retire them for ever.
    """
    await conn.execute(
        """
        UPDATE lifecycles SET retired = $3, retired_in = $4, retired_checked_at = now()
         WHERE workspace_id = $1 AND workflow_id = $2 AND version < $4
        """,
        workspace_id,
        workflow_id,
        list(state_ids),
        version,
    )


async def reinstate(conn: Conn, workspace_id: str, workflow_id: str) -> None:
    """Let records enter all states of the workflow again."""
    await conn.execute(
        """
        UPDATE lifecycles SET retired = '{}', retired_in = 0
         WHERE workspace_id = $1 AND workflow_id = $2
        """,
        workspace_id,
        workflow_id,
    )


async def claim_retirements(conn: Conn, after_s: float, limit: int) -> list[Retirement]:
    """Some that nobody looked at for so long; they are not due again for as long.

    Several who ask get different ones. Needs no model lock: no record is judged by when this was.
    """
    # Those of all workspaces are locked one by one: Citus locks rows of one workspace at a time.
    due = await conn.fetch(
        """
        SELECT workspace_id, workflow_id, retired_checked_at
          FROM lifecycles
         WHERE retired <> '{}'
           AND retired_checked_at < now() - make_interval(secs => $1::float8)
         ORDER BY retired_checked_at
         LIMIT $2
        """,
        after_s,
        limit,
    )
    claimed = [
        await conn.fetchrow(
            """
              WITH unchanged AS (
                  SELECT workflow_id
                    FROM lifecycles
                   WHERE workspace_id = $1 AND workflow_id = $2 AND retired_checked_at = $3
                     AND retired <> '{}'
                     FOR UPDATE SKIP LOCKED)
            UPDATE lifecycles
               SET retired_checked_at = now()
             WHERE workspace_id = $1 AND workflow_id = $2 AND EXISTS (SELECT FROM unchanged)
            RETURNING workspace_id, workflow_id, retired_in, retired_checked_at
            """,
            *row,
        )
        for row in due
    ]
    return [
        Retirement(
            row["workspace_id"], row["workflow_id"], row["retired_in"], row["retired_checked_at"]
        )
        for row in claimed
        if row is not None
    ]


async def reinstate_claimed(conn: Conn, retirement: Retirement) -> bool:
    """As `reinstate`, unless it is over, or another retirement or claim has come since."""
    readmitted: bool | None = await conn.fetchval(
        """
        UPDATE lifecycles SET retired = '{}', retired_in = 0
         WHERE workspace_id = $1
           AND workflow_id = $2
           AND retired_in = $3
           AND retired_checked_at = $4
           AND retired <> '{}'
        RETURNING true
        """,
        retirement.workspace_id,
        retirement.workflow_id,
        retirement.version,
        retirement.checked_at,
    )
    return bool(readmitted)


async def binding(conn: Conn, workspace_id: str) -> None:
    """A schema is about to be bound to a workflow in this transaction; several may be at once."""
    await conn.execute(
        "SELECT pg_advisory_xact_lock_shared(hashtextextended('bind ' || $1, 0))", workspace_id
    )


async def binds(conn: Conn, workspace_id: str, workflow_id: str) -> bool:
    """Whether a schema is bound to the workflow, after every binding that is under way has ended.

    In a transaction: until its end no other binding begins.
    """
    await conn.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('bind ' || $1, 0))", workspace_id
    )
    bound: bool = await conn.fetchval(
        """
        SELECT EXISTS (SELECT FROM schemas
                        WHERE workspace_id = $1 AND body->>'workflowId' = $2)
        """,
        workspace_id,
        workflow_id,
    )
    return bound


async def bound(
    conn: Conn, workspace_id: str, references: Sequence[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Of these (schema, workflow), those that the schema itself says."""
    rows = await conn.fetch(
        """
        SELECT asked.schema_id, asked.workflow_id
          FROM unnest($2::text[], $3::text[]) AS asked (schema_id, workflow_id)
          JOIN schemas s ON s.workspace_id = $1 AND s.id = asked.schema_id
         WHERE s.body->>'workflowId' = asked.workflow_id
        """,
        workspace_id,
        [schema_id for schema_id, _ in references],
        [workflow_id for _, workflow_id in references],
    )
    return {(row["schema_id"], row["workflow_id"]) for row in rows}

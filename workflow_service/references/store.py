"""References of schemas to workflows: the rows that prevent a workflow's deletion.

Schemas live in another service and another database. Before a schema is saved there with a
workflow, a reference is registered here, so a deletion sees the binding before it exists.

    registered   `pending` counts the saves that may still be under way
    heard        the schema's event names the workflow: that save is no longer pending, the binding
                 is confirmed at the schema's version, and those to other workflows are released
    compared     a save that failed is never heard of: its reference is compared with the schemas
                 themselves after a while, and released if it binds nothing
    deleted      whoever deletes the workflow asks records_service, which lets the saves that have
                 begun end first: if no schema is bound then, the references that were there before
                 go with the workflow

A counter and not a flag, because an event that confirms one save must not end the wait for another
that began later. `revision` changes with every step, so that a comparison which takes time cannot
release what was registered meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared.database import Conn, Record, mapping_constraints
from shared.errors import NotFound
from workflow_service.references.model import Reference


async def register(conn: Conn, workspace_id: str, schema_id: str, workflow_id: str) -> None:
    """A schema is about to be saved with this workflow; `NotFound` when there is none."""
    with mapping_constraints(
        {"workflow_is_referenced": lambda: NotFound.of("Workflow", workflow_id)}
    ):
        await conn.execute(
            """INSERT INTO workflow_references AS known
                      (workspace_id, workflow_id, schema_id, pending, checked_at)
               VALUES ($1, $2, $3, 1, now())
                   ON CONFLICT (workspace_id, workflow_id, schema_id)
                   DO UPDATE SET pending = known.pending + 1,
                                 revision = known.revision + 1,
                                 checked_at = excluded.checked_at""",
            workspace_id,
            workflow_id,
            schema_id,
        )


async def is_news(conn: Conn, workspace_id: str, schema_id: str, version: int) -> bool:
    """Whether this version of the schema is newer than what was heard of it before.

    A schema that is created again under the id of a deleted one goes on counting.
    """
    newer: bool | None = await conn.fetchval(
        """INSERT INTO heard_schemas AS known (workspace_id, schema_id, version)
           VALUES ($1, $2, $3)
               ON CONFLICT (workspace_id, schema_id)
               DO UPDATE SET version = $3
                       WHERE known.version < $3
        RETURNING true""",
        workspace_id,
        schema_id,
        version,
    )
    return bool(newer)


async def settle(conn: Conn, workspace_id: str, schema_id: str, workflow_id: str) -> None:
    """One save of the schema with this workflow is no longer under way."""
    await conn.execute(
        """UPDATE workflow_references
              SET pending = pending - 1, revision = revision + 1, checked_at = now()
            WHERE workspace_id = $1
              AND workflow_id = $2
              AND schema_id = $3
              AND pending > 0""",
        workspace_id,
        workflow_id,
        schema_id,
    )


async def confirm(
    conn: Conn, workspace_id: str, schema_id: str, workflow_id: str | None, version: int
) -> None:
    """The schema is bound to this workflow and no other; None: to none at all."""
    await conn.execute(
        """UPDATE workflow_references
              SET confirmed_version = NULL, revision = revision + 1
            WHERE workspace_id = $1
              AND schema_id = $2
              AND workflow_id IS DISTINCT FROM $3
              AND confirmed_version IS NOT NULL""",
        workspace_id,
        schema_id,
        workflow_id,
    )
    if workflow_id is not None:
        # Selected, not just inserted: a workflow that is gone must not fail the event for ever.
        await conn.execute(
            """INSERT INTO workflow_references AS known (workspace_id, workflow_id, schema_id,
                      pending, confirmed_version, checked_at)
               SELECT workspace_id, id, $3, 0, $4, now()
                 FROM workflows
                WHERE workspace_id = $1
                  AND id = $2
                  FOR KEY SHARE
                   ON CONFLICT (workspace_id, workflow_id, schema_id)
                   DO UPDATE SET confirmed_version = $4,
                                 revision = known.revision + 1,
                                 checked_at = excluded.checked_at""",
            workspace_id,
            workflow_id,
            schema_id,
            version,
        )


async def drop_loose(conn: Conn, workspace_id: str, schema_id: str) -> None:
    """Forget the schema's references that are neither pending nor confirmed."""
    await conn.execute(
        """DELETE FROM workflow_references
            WHERE workspace_id = $1
              AND schema_id = $2
              AND pending = 0
              AND confirmed_version IS NULL""",
        workspace_id,
        schema_id,
    )


async def list_all(conn: Conn, workspace_id: str, workflow_id: str, limit: int) -> list[Reference]:
    """References to this workflow."""
    rows = await conn.fetch(
        """SELECT workspace_id, schema_id, workflow_id, revision
             FROM workflow_references
            WHERE workspace_id = $1
              AND workflow_id = $2
            LIMIT $3""",
        workspace_id,
        workflow_id,
        limit,
    )
    return [_reference(row) for row in rows]


async def claim_due(
    conn: Conn, *, pending_after_s: float, confirmed_after_s: float, limit: int
) -> list[Reference]:
    """Some references that nobody looked at for long enough; they are not due again for as long.

    Several workers get different ones. What is confirmed is due too, but rarely: that heals what a
    lost event would leave behind.
    """
    # Those of all workspaces are locked one by one: Citus locks rows of one workspace at a time.
    due = await conn.fetch(
        """SELECT workspace_id, workflow_id, schema_id, checked_at
             FROM workflow_references
            WHERE checked_at < now() - make_interval(secs => least($1::float8, $2::float8))
              AND checked_at < now() - make_interval(
                      secs => CASE WHEN pending > 0 THEN $1::float8 ELSE $2::float8 END)
            ORDER BY checked_at
            LIMIT $3""",
        pending_after_s,
        confirmed_after_s,
        limit,
    )
    claimed = [
        await conn.fetchrow(
            """   WITH unchanged AS (
                       SELECT schema_id
                         FROM workflow_references
                        WHERE workspace_id = $1
                          AND workflow_id = $2
                          AND schema_id = $3
                          AND checked_at = $4
                          FOR UPDATE SKIP LOCKED)
                UPDATE workflow_references
                   SET checked_at = now()
                 WHERE workspace_id = $1
                   AND workflow_id = $2
                   AND schema_id = $3
                   AND EXISTS (SELECT FROM unchanged)
             RETURNING workspace_id, schema_id, workflow_id, revision""",
            *row,
        )
        for row in due
    ]
    return [_reference(row) for row in claimed if row is not None]


async def release(conn: Conn, workspace_id: str, references: Sequence[Reference]) -> int:
    """Drop those of a workspace that nobody touched since they were read; how many that were."""
    tag = await conn.execute(
        """DELETE FROM workflow_references AS known
            USING unnest($2::text[], $3::text[], $4::bigint[])
                  AS stale (schema_id, workflow_id, revision)
            WHERE known.workspace_id = $1
              AND known.schema_id = stale.schema_id
              AND known.workflow_id = stale.workflow_id
              AND known.revision = stale.revision""",
        workspace_id,
        *_columns(references),
    )
    return int(tag.rpartition(" ")[2])


async def hold(conn: Conn, workspace_id: str, references: Sequence[Reference]) -> None:
    """The schemas of a workspace say that these are bound: no save is awaited any more.

    Version 0 is older than every event, so the next one still decides.
    """
    await conn.execute(
        """UPDATE workflow_references AS known
              SET pending = 0,
                  confirmed_version = coalesce(known.confirmed_version, 0),
                  revision = known.revision + 1
             FROM unnest($2::text[], $3::text[], $4::bigint[])
                  AS bound (schema_id, workflow_id, revision)
            WHERE known.workspace_id = $1
              AND known.schema_id = bound.schema_id
              AND known.workflow_id = bound.workflow_id
              AND known.revision = bound.revision
              AND known.pending > 0""",
        workspace_id,
        *_columns(references),
    )


async def doubt_all(conn: Conn) -> None:
    """All references are due to be compared, and what is heard next of a schema is news."""
    await conn.execute("UPDATE workflow_references SET checked_at = '-infinity'")
    await conn.execute("DELETE FROM heard_schemas")


def _reference(row: Record) -> Reference:
    return Reference(row["workspace_id"], row["schema_id"], row["workflow_id"], row["revision"])


def _columns(references: Sequence[Reference]) -> tuple[list[str], list[str], list[int]]:
    return (
        [reference.schema_id for reference in references],
        [reference.workflow_id for reference in references],
        [reference.revision for reference in references],
    )

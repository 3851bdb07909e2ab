"""The SQL of workflows. A foreign key prevents the deletion of a workflow in use."""

from __future__ import annotations

from typing import Any

import orjson

from shared.database import Conn, Record, mapping_constraints
from shared.database.listing import WHOLE, Narrowing, Piece, Position, read_piece
from shared.database.sizes import Size
from shared.errors import Conflict, NotFound, truncated
from workflow_service.definitions.model import Workflow

KIND = "Workflow"
TABLE = "workflows"


async def get(conn: Conn, workspace_id: str, workflow_id: str) -> Workflow:
    """One workflow, or `NotFound`."""
    row = await conn.fetchrow(
        """SELECT id, alias, body, version, created_at, updated_at
             FROM workflows
            WHERE workspace_id = $1
              AND id = $2""",
        workspace_id,
        workflow_id,
    )
    return _found(row, workflow_id)


async def get_locked(conn: Conn, workspace_id: str, workflow_id: str) -> Workflow:
    """As `get`, and nobody else revises or deletes it until this transaction ends.

    Reading and referring to it go on meanwhile.
    """
    row = await conn.fetchrow(
        """SELECT id, alias, body, version, created_at, updated_at
             FROM workflows
            WHERE workspace_id = $1
              AND id = $2
              FOR NO KEY UPDATE""",
        workspace_id,
        workflow_id,
    )
    return _found(row, workflow_id)


async def get_unless_revised(conn: Conn, workspace_id: str, workflow_id: str) -> Workflow | None:
    """As `get_locked`, but None when somebody is revising or deleting it now, or it is gone."""
    row = await conn.fetchrow(
        """SELECT id, alias, body, version, created_at, updated_at
             FROM workflows
            WHERE workspace_id = $1
              AND id = $2
              FOR NO KEY UPDATE SKIP LOCKED""",
        workspace_id,
        workflow_id,
    )
    return None if row is None else _workflow(row)


async def id_of(conn: Conn, workspace_id: str, name: str) -> str:
    """The id of the workflow with this id or, failing that, alias; else the name itself."""
    found: str | None = await conn.fetchval(
        """SELECT id FROM workflows
            WHERE workspace_id = $1 AND (id = $2 OR alias = $2)
            ORDER BY id = $2 DESC LIMIT 1""",
        workspace_id,
        name,
    )
    return name if found is None else found


async def get_unless_known(
    conn: Conn, workspace_id: str, workflow_id: str, known_version: int
) -> Record:
    """One workflow for `parsed`, or `NotFound`; without a body where this version is current."""
    row = await conn.fetchrow(
        """SELECT id, alias, version, created_at, updated_at,
                  CASE WHEN version <> $3 THEN body::text END AS body
             FROM workflows
            WHERE workspace_id = $1
              AND id = $2""",
        workspace_id,
        workflow_id,
        known_version,
    )
    if row is None:
        raise NotFound.of(KIND, workflow_id)
    return row


async def page(
    conn: Conn, workspace_id: str, after: Position, narrowing: Narrowing = WHOLE
) -> Piece:
    """Workflows for `parsed` in order of creation after this one, and whether there are more."""
    return await read_piece(
        conn,
        "workflows",
        "id, alias, body::text AS body, version, created_at, updated_at",
        "octet_length(body)",
        workspace_id,
        after,
        narrowing,
    )


async def insert(conn: Conn, workspace_id: str, workflow: Workflow) -> tuple[Workflow, Size]:
    """The new workflow as stored, and its size; `Conflict` when its id, alias or key is taken.

    An id that was used before goes on counting versions where it stopped, so that nobody takes the
    new workflow for an old version of the deleted one.
    """
    with mapping_constraints(
        {
            "workflows_id_taken": lambda: Conflict.taken(KIND, workflow.id),
            "workflows_alias_taken": lambda: _alias_taken(workflow.alias),
            "workflows_external_key_taken": lambda: _external_key_taken(workflow),
        }
    ):
        row = await conn.fetchrow(
            f"""  WITH earlier AS (
                      DELETE FROM deleted_workflows
                       WHERE workspace_id = $1
                         AND id = $2
                   RETURNING version)
               INSERT INTO workflows AS new
                      (workspace_id, id, alias, body, version, created_at, updated_at)
               SELECT $1, $2, $3, $4, coalesce((SELECT version FROM earlier), 0) + 1, $5, $6
            RETURNING id, alias, body, version, created_at, updated_at,
                      {_bytes_of("new")} AS bytes""",  # noqa: S608
            workspace_id,
            workflow.id,
            workflow.alias,
            workflow.body(),
            workflow.created_at,
            workflow.updated_at,
        )
    assert row is not None
    return _workflow(row), Size(1, row["bytes"])


async def update(conn: Conn, workspace_id: str, workflow: Workflow) -> tuple[Workflow, Size]:
    """The workflow as stored now, one version on, and how much larger it is.

    Raises `Conflict` when its new alias or external key is taken.
    """
    with mapping_constraints(
        {
            "workflows_alias_taken": lambda: _alias_taken(workflow.alias),
            "workflows_external_key_taken": lambda: _external_key_taken(workflow),
        }
    ):
        row = await conn.fetchrow(
            f"""   UPDATE workflows new
                     SET alias = $3, body = $4, version = new.version + 1, updated_at = $5
                    FROM workflows old
                   WHERE new.workspace_id = $1 AND new.id = $2
                     AND old.workspace_id = $1 AND old.id = $2
               RETURNING new.id, new.alias, new.body, new.version, new.created_at, new.updated_at,
                         ({_bytes_of("new")}) - ({_bytes_of("old")}) AS bytes""",  # noqa: S608
            workspace_id,
            workflow.id,
            workflow.alias,
            workflow.body(),
            workflow.updated_at,
        )
    if row is None:
        raise NotFound.of(KIND, workflow.id)
    return _workflow(row), Size(0, row["bytes"])


async def delete(conn: Conn, workspace_id: str, workflow_id: str) -> tuple[Workflow, Size]:
    """Delete the workflow, and return it one version on, and how much smaller the rest is.

    Raises `Conflict` if a schema refers to it.

    A reference that is being registered makes this statement wait: either the reference is
    committed and this statement fails, or this one is committed and the reference finds no
    workflow.
    """
    with mapping_constraints(
        {"workflow_is_referenced": lambda: Conflict.in_use(KIND, workflow_id)}
    ):
        row = await conn.fetchrow(
            f"""  WITH gone AS (
                      DELETE FROM workflows AS old
                       WHERE workspace_id = $1
                         AND id = $2
                   RETURNING id, alias, body, version + 1 AS version, created_at, updated_at,
                             {_bytes_of("old")} AS bytes),
                      remembered AS (
                      INSERT INTO deleted_workflows (workspace_id, id, version)
                      SELECT $1, id, version FROM gone
                          ON CONFLICT (workspace_id, id) DO UPDATE SET version = excluded.version)
               SELECT id, alias, body, version, created_at, updated_at, bytes
                 FROM gone""",  # noqa: S608
            workspace_id,
            workflow_id,
        )
    if row is None:
        raise NotFound.of(KIND, workflow_id)
    return _workflow(row), Size(-1, -row["bytes"])


async def page_of_all(conn: Conn, after: tuple[str, str], limit: int) -> list[tuple[str, Workflow]]:
    """Workflows of all workspaces, each with its workspace, in that order, behind this one."""
    rows = await conn.fetch(
        """SELECT workspace_id, id, alias, body, version, created_at, updated_at
             FROM workflows
            WHERE (workspace_id, id) > ($1, $2)
            ORDER BY workspace_id, id
            LIMIT $3""",
        *after,
        limit,
    )
    return [(row["workspace_id"], _workflow(row)) for row in rows]


def _bytes_of(row: str) -> str:
    """SQL: the bytes of a workflow, as their limit counts them."""
    return f"octet_length({row}.id) + octet_length({row}.alias) + octet_length({row}.body::text)"


def _found(row: Record | None, workflow_id: str) -> Workflow:
    if row is None:
        raise NotFound.of(KIND, workflow_id)
    return _workflow(row)


def parsed(row: Record) -> Workflow:
    """The workflow of a row whose body is text. It may be large: for a thread."""
    return _workflow(row, orjson.loads(row["body"]))


def _workflow(row: Record, body: dict[str, Any] | None = None) -> Workflow:
    return Workflow.model_validate(
        {
            **(row["body"] if body is None else body),
            "id": row["id"],
            "alias": row["alias"],
            "createdAt": row["created_at"],
            "updatedAt": row["updated_at"],
            "version": row["version"],
        }
    )


def _alias_taken(alias: str) -> Conflict:
    return Conflict(f"{KIND} with alias '{truncated(alias)}' already exists")


def _external_key_taken(workflow: Workflow) -> Conflict:
    return Conflict(
        f"{KIND} with external key '{truncated(workflow.external_key or '')}' already exists"
    )

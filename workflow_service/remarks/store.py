"""The SQL of messages and annotations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from shared.database import Conn, mapping_constraints
from shared.database.listing import Narrowing, Piece, Position, read_piece
from shared.errors import Conflict, LimitExceeded, NotFound
from workflow_service.remarks.model import (
    ANNOTATED_BYTES_MAX,
    REMARKS_MAX,
    SHOWN_MAX,
    Annotation,
    Message,
)

_COUNT: Final = """
    SELECT count(*) FROM (SELECT 1 FROM {table}
                           WHERE workspace_id = $1 AND change_set_id = $2 LIMIT $3) AS found
"""
_ANNOTATED: Final = """
    SELECT coalesce(sum(octet_length(text) + octet_length(comment)), 0)
      FROM change_set_annotations
     WHERE workspace_id = $1 AND change_set_id = $2
"""


async def add_message(conn: Conn, workspace_id: str, change_set_id: str, message: Message) -> None:
    """Add a message to a change set that is locked; `Conflict` for a taken id, `LimitExceeded`."""
    await _check_room(conn, workspace_id, change_set_id, "change_set_messages", "messages")
    taken = partial(Conflict.taken, "Message", message.id)
    with mapping_constraints({"change_set_messages_id_taken": taken}):
        await conn.execute(
            """
            INSERT INTO change_set_messages
                   (workspace_id, change_set_id, id, text, created_by, created_at)
            VALUES ($1, $2, $3, $4, $5, $6)
            """,
            workspace_id,
            change_set_id,
            message.id,
            message.text,
            message.created_by,
            message.created_at,
        )


async def add_annotation(
    conn: Conn, workspace_id: str, change_set_id: str, annotation: Annotation
) -> None:
    """Add an annotation to a change set that is locked; `Conflict` or `LimitExceeded`."""
    await _check_room(conn, workspace_id, change_set_id, "change_set_annotations", "annotations")
    size = len((annotation.text + annotation.comment).encode())
    if size + await conn.fetchval(_ANNOTATED, workspace_id, change_set_id) > ANNOTATED_BYTES_MAX:
        raise LimitExceeded(
            f"The annotations of a change set may have at most {ANNOTATED_BYTES_MAX} bytes of text"
        )
    taken = partial(Conflict.taken, "Annotation", annotation.id)
    with mapping_constraints({"change_set_annotations_id_taken": taken}):
        await conn.execute(
            """
            INSERT INTO change_set_annotations
                   (workspace_id, change_set_id, id, operation_id, attribute_id, attribute, text,
                    start, stop, comment, created_by, created_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
            """,
            workspace_id,
            change_set_id,
            annotation.id,
            annotation.operation_id,
            annotation.attribute_id,
            annotation.attribute,
            annotation.text,
            annotation.start,
            annotation.stop,
            annotation.comment,
            annotation.created_by,
            annotation.created_at,
        )


async def forget_operations(
    conn: Conn, workspace_id: str, change_set_id: str, kept: Sequence[str]
) -> None:
    """Delete the annotations of operations that are not among these any more."""
    await conn.execute(
        """
        DELETE FROM change_set_annotations
         WHERE workspace_id = $1 AND change_set_id = $2 AND operation_id <> ALL($3::text[])
        """,
        workspace_id,
        change_set_id,
        list(kept),
    )


async def author_of_annotation(
    conn: Conn, workspace_id: str, change_set_id: str, annotation_id: str
) -> str:
    """The user who made it, or `NotFound`."""
    author: str | None = await conn.fetchval(
        """
        SELECT created_by FROM change_set_annotations
         WHERE workspace_id = $1 AND change_set_id = $2 AND id = $3
        """,
        workspace_id,
        change_set_id,
        annotation_id,
    )
    if author is None:
        raise NotFound.of("Annotation", annotation_id)
    return author


async def delete_annotation(
    conn: Conn, workspace_id: str, change_set_id: str, annotation_id: str
) -> None:
    """Delete an annotation."""
    await conn.execute(
        """
        DELETE FROM change_set_annotations
         WHERE workspace_id = $1 AND change_set_id = $2 AND id = $3
        """,
        workspace_id,
        change_set_id,
        annotation_id,
    )


async def _check_room(
    conn: Conn, workspace_id: str, change_set_id: str, table: str, things: str
) -> None:
    found = await conn.fetchval(
        _COUNT.format(table=table), workspace_id, change_set_id, REMARKS_MAX
    )
    if found >= REMARKS_MAX:
        raise LimitExceeded(f"A change set may have at most {REMARKS_MAX} {things}")


async def messages_of(
    conn: Conn, workspace_id: str, change_set_id: str
) -> tuple[list[Message], int]:
    """The newest messages, oldest first, and how many there are in all."""
    rows = await conn.fetch(
        """
        SELECT newest.*, known.number
          FROM (SELECT count(*) AS number FROM change_set_messages
                 WHERE workspace_id = $1 AND change_set_id = $2) AS known,
               LATERAL (SELECT id, text, created_by, created_at FROM change_set_messages
                         WHERE workspace_id = $1 AND change_set_id = $2
                         ORDER BY created_at DESC, id DESC
                         LIMIT $3) AS newest
         ORDER BY newest.created_at, newest.id
        """,
        workspace_id,
        change_set_id,
        SHOWN_MAX,
    )
    number = rows[0]["number"] if rows else 0
    return [
        Message(row["id"], row["text"], row["created_by"], row["created_at"]) for row in rows
    ], number


async def page_of_messages(
    conn: Conn, workspace_id: str, after: Position, change_set_id: str, narrowing: Narrowing
) -> Piece:
    """Rows of messages, oldest first, and whether more follow."""
    return await read_piece(
        conn,
        "change_set_messages",
        "id, text, created_by, created_at",
        "octet_length(text) + 200",
        workspace_id,
        after,
        narrowing.and_also("change_set_id = {}", change_set_id),
    )


async def annotations_of(conn: Conn, workspace_id: str, change_set_id: str) -> list[Annotation]:
    """The annotations, oldest first."""
    rows = await conn.fetch(
        """
        SELECT id, operation_id, attribute_id, attribute, text, start, stop, comment, created_by,
               created_at
          FROM change_set_annotations
         WHERE workspace_id = $1 AND change_set_id = $2
         ORDER BY created_at, id
        """,
        workspace_id,
        change_set_id,
    )
    return [Annotation(**row) for row in rows]

"""Changes of the data model: one transaction under the model lock, with its event."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from records_service.model_objects.model import ModelObject
from shared.database import DATABASE, REQUEST_TRANSACTION, Conn
from shared.errors import LimitExceeded
from shared.events import Event
from shared.messaging import outbox
from shared.process.waiting import KeyedSemaphore

SOURCE = "/records_service"
MODEL = "model"
"""What a request's transaction has changed, for caches (`request_transactions`)."""

MODEL_CHANGE_SLOTS = web.AppKey("model_change_slots", KeyedSemaphore)


@dataclass(frozen=True, slots=True)
class ModelSize:
    """What the model of a workspace has, or may have: dimensions, lists and so on; their bytes."""

    objects: int
    bytes: int


MODEL_SIZE_MAX = web.AppKey("model_size_max", ModelSize)


async def take_lock(conn: Conn, workspace_id: str) -> ModelSize:
    """Lock the model row of the workspace until commit, raise its version, return its size.

    This must be the first statement of every transaction that changes the model (docs/adr/0002): a
    transaction that took another lock first could deadlock with one that waits for that lock.
    """
    bound = REQUEST_TRANSACTION.get()
    if bound is not None:
        bound.mark_changed(MODEL)
    row = await conn.fetchrow(
        """
        INSERT INTO models AS m (workspace_id, version)
        VALUES ($1, 1)
            ON CONFLICT (workspace_id)
            DO UPDATE SET version = m.version + 1
        RETURNING objects, bytes
        """,
        workspace_id,
    )
    assert row is not None
    return ModelSize(row["objects"], row["bytes"])


async def lock_model(conn: Conn, workspace_id: str) -> None:
    """Let no record be written until commit; those that are being written are finished first.

    Who waits for this has begun by what was stored before: only a new version of the model
    (`take_lock`) makes them begin again.
    """
    await conn.execute(
        "SELECT 1 FROM models WHERE workspace_id = $1 FOR NO KEY UPDATE", workspace_id
    )


async def lock_model_shared(conn: Conn, workspace_id: str) -> None:
    """Prevent changes of the data model until commit; records may be written meanwhile."""
    await conn.execute("SELECT 1 FROM models WHERE workspace_id = $1 FOR SHARE", workspace_id)


async def let_hold(conn: Conn, workspace_id: str, attribute_id: str | None) -> None:
    """What is prepared to convert this attribute holds (`converted_values`); None: of none.

    The caller holds the lock.
    """
    await conn.execute(
        "UPDATE models SET settling = $2 WHERE workspace_id = $1", workspace_id, attribute_id
    )


async def index_records(conn: Conn, workspace_id: str) -> bool:
    """Let writes of records write the search index from this version on; False if they do already.

    The caller holds the lock.
    """
    tag = await conn.execute(
        "UPDATE models SET is_indexed = true WHERE workspace_id = $1 AND NOT is_indexed",
        workspace_id,
    )
    return tag == "UPDATE 1"


async def trust_marks(conn: Conn, workspace_id: str) -> None:
    """From now on, what has no mark (`value_uses`) has no value. The caller holds the lock."""
    await conn.execute(
        "UPDATE models SET are_uses_known = true WHERE workspace_id = $1", workspace_id
    )


@asynccontextmanager
async def model_change(
    app: web.Application,
    workspace_id: str,
    first: Callable[[Conn], Awaitable[None]] | None = None,
    *,
    judge: Callable[[Conn], Awaitable[object]] | None = None,
) -> AsyncIterator[Conn]:
    """A transaction that holds the model lock; the relay is woken when it has committed.

    One of a workspace at a time in each process: those who wait for the lock hold no connection.
    What is done `first` keeps no writer of records waiting. `judge` raises what forbids the change;
    it runs before the transaction, too, so that its `Searcher` has little left to do under the
    lock, where the caller asks it again. Raises `LimitExceeded`, with nothing
    changed, when the model has grown beyond its bounds.
    """
    async with app[MODEL_CHANGE_SLOTS].of(workspace_id):
        if judge is not None:
            async with app[DATABASE].acquire() as conn:
                await judge(conn)
        async with app[DATABASE].transaction() as conn:
            if first is not None:
                await first(conn)
            before = await take_lock(conn, workspace_id)
            yield conn
            await _check_size(conn, workspace_id, before, app[MODEL_SIZE_MAX])
    outbox.wake(app)


async def _check_size(conn: Conn, workspace_id: str, before: ModelSize, allowed: ModelSize) -> None:
    """All changes are counted by now, in a row that is ours until the end of the transaction.

    A model that is too large already, since the bounds were lowered, may change and shrink.
    """
    row = await conn.fetchrow(
        "SELECT objects, bytes FROM models WHERE workspace_id = $1", workspace_id
    )
    assert row is not None
    after = ModelSize(row["objects"], row["bytes"])
    if after.objects > max(allowed.objects, before.objects):
        raise LimitExceeded(
            f"The model of this workspace may have at most {allowed.objects} dimensions,"
            f" option lists, attributes and schemas, got {after.objects}"
        )
    if after.bytes > max(allowed.bytes, before.bytes):
        raise LimitExceeded(
            f"The model of this workspace may have at most {allowed.bytes} bytes, got {after.bytes}"
        )


async def stage_event(
    conn: Conn, event_type: str, workspace_id: str, model_object: ModelObject, **data: Any
) -> None:
    """Stage the event of a change; a deleted object is one version further than it was."""
    version = model_object.version + (1 if event_type.endswith(".deleted") else 0)
    await outbox.stage(
        conn,
        Event(
            type=event_type,
            source=SOURCE,
            workspace_id=workspace_id,
            subject=model_object.id,
            data={"id": model_object.id, "alias": model_object.alias, "version": version, **data},
        ),
    )

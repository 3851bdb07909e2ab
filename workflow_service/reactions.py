"""What this service does when a schema was saved: settle which workflow it refers to."""

from __future__ import annotations

from shared import bus
from shared.events import SCHEMA_CREATED, SCHEMA_DELETED, SCHEMA_UPDATED, Event
from shared.postgres import Conn
from workflow_service.workflows import references


async def settle_reference(conn: Conn, event: Event) -> None:
    """The schema is bound to the workflow that the event names, at the event's version."""
    workspace_id, schema_id = event.workspace_id, event.subject
    workflow_id = None if event.type == SCHEMA_DELETED else event.data.get("workflowId")
    is_news = await references.is_news(conn, workspace_id, schema_id, event.version)
    if workflow_id is not None:
        await references.settle(conn, workspace_id, schema_id, workflow_id)
    if is_news:
        await references.confirm(conn, workspace_id, schema_id, workflow_id, event.version)
    await references.drop_loose(conn, workspace_id, schema_id)


react = bus.by_type(
    {
        SCHEMA_CREATED: settle_reference,
        SCHEMA_UPDATED: settle_reference,
        SCHEMA_DELETED: settle_reference,
    }
)

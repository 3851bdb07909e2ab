"""Reactions to events: schemas were saved, attributes got a new alias.

The event of a schema settles which workflow the schema refers to. After the event of an attribute,
the lists of states that named the attribute by its alias hold its id.
"""

from __future__ import annotations

from shared.database import Conn, Database
from shared.events import Event, EventType
from shared.messaging import news
from shared.messaging.consuming import by_type
from workflow_service import renaming
from workflow_service.references import store as references


async def settle_reference(conn: Conn, event: Event) -> None:
    """The schema is bound to the workflow that the event names, at the event's version."""
    workspace_id, schema_id = event.workspace_id, event.subject
    workflow_id = None if event.type == EventType.SCHEMA_DELETED else event.data.get("workflowId")
    is_news = await references.is_news(conn, workspace_id, schema_id, event.version)
    if workflow_id is not None:
        await references.settle(conn, workspace_id, schema_id, workflow_id)
    if is_news:
        await references.confirm(conn, workspace_id, schema_id, workflow_id, event.version)
    await references.drop_loose(conn, workspace_id, schema_id)


async def hold_ids(db: Database, event: Event) -> None:
    """Handle an attribute that is new or has a new alias.

    Each workflow is changed in a transaction of its own. A redelivered event changes no workflow
    twice: the same transaction removes the name from the unknown names of the workflow.
    """
    data = event.data
    if (
        event.type not in (EventType.ATTRIBUTE_CREATED, EventType.ATTRIBUTE_UPDATED)
        or "modelVersion" not in data
    ):
        # The alias has not changed, or it is the alias of a schema, which no list names.
        return
    async with db.transaction() as conn:
        await news.hear(conn, event.workspace_id)
    await renaming.name_attribute(
        db,
        event.workspace_id,
        event.subject,
        data["alias"],
        data["othersNamed"],
        data["formerAliases"],
        model_version=data["modelVersion"],
        # A new object with the id of a deleted one has the history of the deleted one.
        is_new=event.type == EventType.ATTRIBUTE_CREATED and not data["formerAliases"],
    )


react = by_type(
    {
        EventType.SCHEMA_CREATED: settle_reference,
        EventType.SCHEMA_UPDATED: settle_reference,
        EventType.SCHEMA_DELETED: settle_reference,
    }
)

"""What this service does when a schema was saved, or an attribute got a name.

Of a schema it settles which workflow it refers to. Lists of states that name the attribute by its
alias hold its id from then on.
"""

from __future__ import annotations

from shared import bus, news
from shared.events import (
    ATTRIBUTE_CREATED,
    ATTRIBUTE_UPDATED,
    SCHEMA_CREATED,
    SCHEMA_DELETED,
    SCHEMA_UPDATED,
    Event,
)
from shared.postgres import Conn
from workflow_service.workflows import commands, references


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


async def name_attribute(conn: Conn, event: Event) -> None:
    """An attribute is new, or has an alias that it did not have."""
    if _tells_a_name(event):
        data = event.data
        await commands.name_attribute(
            conn,
            event.workspace_id,
            event.subject,
            data["alias"],
            data["othersNamed"],
            data["formerAliases"],
            model_version=data["modelVersion"],
            # One that is made again under an old id has the history of that one.
            is_new=event.type == ATTRIBUTE_CREATED and not data["formerAliases"],
        )


async def hear(conn: Conn, event: Event) -> None:
    """Let those who are saving a workflow, and have asked what names mean, ask again."""
    if _tells_a_name(event):
        await news.hear(conn, event.workspace_id)


def _tells_a_name(event: Event) -> bool:
    """Not so where only something else has changed, or of a schema: no list names any."""
    return event.type in (ATTRIBUTE_CREATED, ATTRIBUTE_UPDATED) and "modelVersion" in event.data


react = bus.by_type(
    {
        ATTRIBUTE_CREATED: name_attribute,
        ATTRIBUTE_UPDATED: name_attribute,
        SCHEMA_CREATED: settle_reference,
        SCHEMA_UPDATED: settle_reference,
        SCHEMA_DELETED: settle_reference,
    }
)

"""Reactions to events: schemas were saved, attributes got a new alias.

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
from shared.postgres import Conn, Database
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


async def hold_ids(db: Database, event: Event) -> None:
    """An attribute is new, or has an alias that it did not have.

    A transaction for each workflow, however many there are. None is changed twice: what a workflow
    did not know is forgotten in the transaction in which it gets to know it.
    """
    data = event.data
    if event.type not in (ATTRIBUTE_CREATED, ATTRIBUTE_UPDATED) or "modelVersion" not in data:
        # Only something else has changed, or a schema: no list names any.
        return
    async with db.transaction() as conn:
        await news.hear(conn, event.workspace_id)
    await commands.name_attribute(
        db,
        event.workspace_id,
        event.subject,
        data["alias"],
        data["othersNamed"],
        data["formerAliases"],
        model_version=data["modelVersion"],
        # One that is made again under an old id has the history of that one.
        is_new=event.type == ATTRIBUTE_CREATED and not data["formerAliases"],
    )


react = bus.by_type(
    {
        SCHEMA_CREATED: settle_reference,
        SCHEMA_UPDATED: settle_reference,
        SCHEMA_DELETED: settle_reference,
    }
)

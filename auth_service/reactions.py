"""Reactions to events: a new alias is replaced with its id in the roles that name it."""

from __future__ import annotations

from auth_service import renaming
from shared.database import Database
from shared.events import Event, EventType
from shared.messaging import news


async def hold_ids(db: Database, event: Event) -> None:
    """Handle a schema or attribute that is new or has a new alias.

    Each role is changed in a transaction of its own. A redelivered event changes no role twice: the
    same transaction removes the name from the unknown names of the role.
    """
    data = event.data
    if "modelVersion" not in data:
        # The alias has not changed.
        return
    async with db.transaction() as conn:
        await news.hear(conn, event.workspace_id)
    # A new object with the id of a deleted one has the history of the deleted one.
    first_of_its_id = not data["formerAliases"]
    if event.type == EventType.SCHEMA_CREATED:
        await renaming.name_schema(
            db,
            event.workspace_id,
            event.subject,
            data["alias"],
            model_version=data["modelVersion"],
            is_meant=first_of_its_id and not data["othersNamed"],
        )
    else:
        await renaming.name_attribute(
            db,
            event.workspace_id,
            event.subject,
            data["alias"],
            data["othersNamed"],
            model_version=data["modelVersion"],
            is_new=event.type == EventType.ATTRIBUTE_CREATED and first_of_its_id,
        )

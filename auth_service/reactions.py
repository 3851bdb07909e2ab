"""Reactions to events: a new alias is replaced with its id in the roles that name it."""

from __future__ import annotations

from auth_service.roles import commands as roles
from shared import news
from shared.events import ATTRIBUTE_CREATED, SCHEMA_CREATED, Event
from shared.postgres import Database


async def hold_ids(db: Database, event: Event) -> None:
    """A schema or an attribute is new, or has an alias that it did not have.

    A transaction for each role, however many there are. None is changed twice: what a role did not
    know is forgotten in the transaction in which it gets to know it.
    """
    data = event.data
    if "modelVersion" not in data:
        # Only something else has changed.
        return
    async with db.transaction() as conn:
        await news.hear(conn, event.workspace_id)
    # One that is made again under an old id has the history of that one.
    first_of_its_id = not data["formerAliases"]
    if event.type == SCHEMA_CREATED:
        await roles.name_schema(
            db,
            event.workspace_id,
            event.subject,
            data["alias"],
            model_version=data["modelVersion"],
            is_meant=first_of_its_id and not data["othersNamed"],
        )
    else:
        await roles.name_attribute(
            db,
            event.workspace_id,
            event.subject,
            data["alias"],
            data["othersNamed"],
            model_version=data["modelVersion"],
            is_new=event.type == ATTRIBUTE_CREATED and first_of_its_id,
        )

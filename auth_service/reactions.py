"""What this service does when something gets a name that roles may hold: they hold its id then."""

from __future__ import annotations

from auth_service.roles import commands as roles
from shared import bus, news
from shared.events import ATTRIBUTE_CREATED, ATTRIBUTE_UPDATED, SCHEMA_CREATED, Event
from shared.postgres import Conn


async def hear(conn: Conn, event: Event) -> None:
    """Let those who are saving a role, and have asked what names mean, ask again."""
    if _tells_a_name(event):
        await news.hear(conn, event.workspace_id)


async def name_attribute(conn: Conn, event: Event) -> None:
    """An attribute is new, or has an alias that it did not have."""
    if _tells_a_name(event):
        data = event.data
        await roles.name_attribute(
            conn,
            event.workspace_id,
            event.subject,
            data["alias"],
            data["othersNamed"],
            model_version=data["modelVersion"],
            # One that is made again under an old id has the history of that one.
            is_new=event.type == ATTRIBUTE_CREATED and not data["formerAliases"],
        )


async def name_schema(conn: Conn, event: Event) -> None:
    """A schema is new."""
    if _tells_a_name(event):
        data = event.data
        await roles.name_schema(
            conn,
            event.workspace_id,
            event.subject,
            data["alias"],
            model_version=data["modelVersion"],
            is_meant=not data["formerAliases"] and not data["othersNamed"],
        )


react = bus.by_type(
    {
        ATTRIBUTE_CREATED: name_attribute,
        ATTRIBUTE_UPDATED: name_attribute,
        SCHEMA_CREATED: name_schema,
    }
)


def _tells_a_name(event: Event) -> bool:
    """Not so where only something else has changed."""
    return "modelVersion" in event.data

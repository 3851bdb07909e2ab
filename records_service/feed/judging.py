"""What a caller sees of events: by the role and the state of today, not of when they happened.

An event whose values are all hidden stays, with an empty `changes`: the version of its record has
changed, which the caller sees. What lies in a catalog that the caller may not view is absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from records_service.blueprint.blueprint import BLUEPRINTS
from records_service.blueprint.compiled_schema import CompiledSchema, compiled_schema
from records_service.context import Context
from records_service.feed import store
from records_service.model_objects.commands import SOURCE
from records_service.permissions.rules import catalog_access
from records_service.writes.changes import EXTERNAL_KEY
from shared.database import Record
from shared.events import Event

_OF_RECORDS: Final = ("entity.", "variant.")
_OF_CATALOGS: Final = ("catalog.", "category.")


async def shown(context: Context, rows: Sequence[Record]) -> list[bytes | None]:
    """The document of each row as the caller may see it; None for what is absent."""
    is_large = sum(len(row["changes"] or row["document"] or "") for row in rows) > _INLINE_BYTES_MAX
    if context.role is None:
        return await context.run(is_large, _documents, context.workspace_id, rows)
    events = await context.run(is_large, _parsed, context.workspace_id, rows)
    of_records = [event for event in events if event["type"].startswith(_OF_RECORDS)]
    schemas: dict[str, CompiledSchema] = {}
    states: Mapping[str, str | None] = {}
    if of_records:
        blueprint = await context.app[BLUEPRINTS].get(context.database, context.workspace_id)
        for schema_id in {event["data"].get("schemaId") for event in of_records}:
            if schema_id in blueprint.schemas:
                schemas[schema_id] = await compiled_schema(blueprint, schema_id)
        async with context.database.acquire() as conn:
            states = await store.states(
                conn, context.workspace_id, {event["data"]["entityId"] for event in of_records}
            )
    return await context.run(is_large, _judged, context, events, schemas, states)


def _judged(
    context: Context,
    events: Sequence[dict[str, Any]],
    schemas: Mapping[str, CompiledSchema],
    states: Mapping[str, str | None],
) -> list[bytes | None]:
    judged: list[bytes | None] = []
    for event in events:
        data = event["data"]
        if event["type"].startswith(_OF_CATALOGS):
            catalog_id = data.get("catalogId")
            if catalog_id is None or not catalog_access(context.role, catalog_id).can_view:
                judged.append(None)
                continue
        elif event["type"].startswith(_OF_RECORDS):
            visible = _visible(context, data, schemas.get(data.get("schemaId")), states)
            data["changes"] = [
                change
                for change in data["changes"]
                if change["attributeId"] in visible or change["attributeId"] == EXTERNAL_KEY
            ]
        judged.append(orjson.dumps(event))
    return judged


def _visible(
    context: Context,
    data: Mapping[str, Any],
    schema: CompiledSchema | None,
    states: Mapping[str, str | None],
) -> Mapping[str, str]:
    """Of a record that is gone, its last state decides; of a schema that is gone, nothing shows."""
    if schema is None:
        return {}
    state_id = states.get(data["entityId"], data.get("lifecycleStateId"))
    return schema.access(context.role, schema.state_id_of(state_id)).visible


def _documents(workspace_id: str, rows: Sequence[Record]) -> list[bytes | None]:
    return [document(workspace_id, row) for row in rows]


def _parsed(workspace_id: str, rows: Sequence[Record]) -> list[dict[str, Any]]:
    return [orjson.loads(document(workspace_id, row)) for row in rows]


def document(workspace_id: str, row: Record) -> bytes:
    """The event as it was told to the bus, whose values may be in the history."""
    if row["document"] is not None:
        document: str = row["document"]
        return document.encode()
    return Event(
        type=row["type"],
        source=SOURCE,
        workspace_id=workspace_id,
        subject=row["subject"],
        data={
            "entityId": row["subject"],
            "schemaId": row["schema_id"],
            "version": row["version"],
            "lifecycleStateId": row["state_id"],
            "userId": row["user_id"],
            "changes": orjson.Fragment((row["changes"] or "[]").encode()),
        },
        id=row["event_id"],
        time=row["at"],
        traceparent=row["traceparent"],
    ).to_json()


_INLINE_BYTES_MAX: Final = 1 << 17

"""Creates schemas, and checks their drafts; `model_changes` replaces and deletes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from records_service.attributes.model import ATTRIBUTE
from records_service.context import Context
from records_service.model_objects import store as model_objects
from records_service.model_objects.commands import model_change, stage_event
from records_service.model_objects.labels import check_labels
from records_service.model_objects.model import ModelObject
from records_service.permissions.rules import Role
from records_service.schemas import store
from records_service.schemas.binding import WorkflowBinding, workflow_id_of
from records_service.schemas.counting import check_counting
from records_service.schemas.groups import attribute_names, body_of, with_ids
from records_service.schemas.model import SCHEMA, SchemaDraft
from records_service.schemas.placing import check_placing
from records_service.workflow_copies import store as workflow_copies
from shared.database import Conn
from shared.events import EventType
from shared.ids import new_id


async def create(context: Context, draft: SchemaDraft) -> ModelObject:
    """Create a schema.

    Raises `ValidationError`, `Conflict` for a taken id or alias, or `PermissionDenied`.
    """
    workspace_id, role = context.workspace_id, context.role
    schema_id = draft.id or new_id(SCHEMA.prefix)
    sent = body_of(draft)
    async with context.database.acquire() as conn:
        await check_labels(conn, workspace_id, draft)
        await check_body(conn, workspace_id, role, schema_id, draft.alias, None, sent)
        await store.check_free(conn, workspace_id, schema_id, draft.alias)
    workflow_id = await workflow_id_of(context, schema_id, draft.workflow_id)
    sent["workflowId"] = workflow_id
    workflow = WorkflowBinding(context, schema_id, workflow_id)
    async with workflow.place(), model_change(context.app, workspace_id, workflow.refer) as conn:
        body = await check_body(conn, workspace_id, role, schema_id, draft.alias, None, sent)
        schema = await model_objects.insert(
            conn, SCHEMA, workspace_id, schema_id, draft.alias, body
        )
        await check_counting(conn, workspace_id, role, schema, None, workflow.definition)
        if workflow.definition is not None:
            await workflow_copies.upsert(conn, workspace_id, workflow.definition)
        naming = await model_objects.naming(conn, SCHEMA, workspace_id, schema)
        await stage_schema_event(conn, EventType.SCHEMA_CREATED, workspace_id, schema, **naming)
    return schema


async def check_body(
    conn: Conn,
    workspace_id: str,
    role: Role | None,
    schema_id: str,
    alias: str,
    old: Mapping[str, Any] | None,
    sent: dict[str, Any],
) -> dict[str, Any]:
    """The body with ids; `ValidationError` for what is none, `PermissionDenied` for the role."""
    ids = await model_objects.ids_of(conn, ATTRIBUTE, workspace_id, attribute_names(sent))
    body = with_ids(sent, ids)
    if role is not None:
        await check_placing(conn, workspace_id, role, schema_id, alias, old, body)
    return body


async def stage_schema_event(
    conn: Conn, event_type: str, workspace_id: str, schema: ModelObject, **naming: Any
) -> None:
    """Stage the event of a saved or deleted schema, with the workflow that it has or had."""
    await stage_event(
        conn,
        event_type,
        workspace_id,
        schema,
        schemaId=schema.id,
        workflowId=schema.body.get("workflowId"),
        **naming,
    )

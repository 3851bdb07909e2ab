"""Replaces and deletes schemas, and moves their records where the workflow changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from records_service.attributes.model import ATTRIBUTE
from records_service.context import BaseContext, Context
from records_service.model_changes import state_moving, store
from records_service.model_objects import store as model_objects
from records_service.model_objects.commands import model_change
from records_service.model_objects.labels import check_labels
from records_service.model_objects.model import ModelObject
from records_service.schemas import store as schemas
from records_service.schemas.binding import WorkflowBinding, workflow_id_of
from records_service.schemas.commands import check_body, stage_schema_event
from records_service.schemas.counting import check_counting, check_withheld
from records_service.schemas.groups import attribute_names, body_of
from records_service.schemas.model import SCHEMA, SchemaDraft
from records_service.search_index import building
from records_service.search_scores import store as scores
from records_service.workflow_copies import store as workflow_copies
from shared.database import Conn
from shared.errors import Conflict, ServiceUnavailable, some_of, truncated
from shared.events import EventType


async def replace(
    context: Context, schema_id: str, draft: SchemaDraft
) -> tuple[ModelObject, str | None]:
    """Replace a schema. Records in a state that a new workflow lacks move to its default state.

    They are in it at once for all who read them, and moved one after the other in the background.
    Returns the schema and the id of the job that moves them, if there is one.

    Groups and workflow are kept if they are left out; otherwise every record would lose its visible
    values and its state.
    """
    workspace_id = context.workspace_id
    if draft.workflow_id is not None:
        named = await workflow_id_of(context, schema_id, draft.workflow_id)
        draft = draft.model_copy(update={"workflow_id": named})
    async with context.database.acquire() as conn:
        _, asked = await _judge(context, conn, schema_id, draft)
    workflow_id = asked.get("workflowId")
    workflow = WorkflowBinding(context, schema_id, workflow_id)
    async with workflow.place(), model_change(context.app, workspace_id, workflow.refer) as conn:
        old, body = await _judge(context, conn, schema_id, draft)
        if body.get("workflowId") != workflow_id:
            raise ServiceUnavailable(
                f"The workflow of schema '{truncated(schema_id)}' is being changed"
            )
        if draft.alias != old.alias:
            await model_objects.check_may_be_renamed(conn, SCHEMA, workspace_id, old)
            await model_objects.insert_former_alias(conn, SCHEMA, workspace_id, old)
        schema = await model_objects.update(
            conn, SCHEMA, workspace_id, schema_id, draft.alias, body
        )
        await _settle_attributes(conn, workspace_id, old, schema)
        await check_counting(
            conn, workspace_id, context.role, schema, old.body, workflow.definition
        )
        if workflow.definition is not None:
            await workflow_copies.upsert(conn, workspace_id, workflow.definition)
        job_id = None
        if old.body.get("workflowId") != workflow_id:
            job_id = await state_moving.move_or_request(
                conn, context.identity, schema_id, old.body.get("workflowId"), workflow_id
            )
        await stage_schema_event(conn, EventType.SCHEMA_UPDATED, workspace_id, schema)
    return schema, job_id


async def delete(context: BaseContext, schema_id: str) -> None:
    """Delete a schema.

    Raises `Conflict` while a record has it or a relation points to it.
    """
    workspace_id = context.workspace_id
    async with model_change(context.app, workspace_id) as conn:
        old = await model_objects.get(conn, SCHEMA, workspace_id, schema_id)
        context.check_version(SCHEMA.title, old.id, old.version)
        if await store.has_records(conn, workspace_id, schema_id):
            raise Conflict.in_use(SCHEMA.title, schema_id, context.told("it has records"))
        pointing = await schemas.pointing_to(conn, workspace_id, schema_id)
        if pointing:
            by = context.told(f"attributes point to its records ({some_of(pointing)})")
            raise Conflict.in_use(SCHEMA.title, schema_id, by)
        await model_objects.insert_former_alias(conn, SCHEMA, workspace_id, old)
        await model_objects.delete(conn, SCHEMA, workspace_id, schema_id)
        await store.forget_schema(conn, workspace_id, schema_id)
        await state_moving.forget(conn, workspace_id, schema_id, "The schema was deleted")
        await building.schema_deleted(conn, workspace_id, schema_id)
        await stage_schema_event(conn, EventType.SCHEMA_DELETED, workspace_id, old)


async def _judge(
    context: Context, conn: Conn, schema_id: str, draft: SchemaDraft
) -> tuple[ModelObject, dict[str, Any]]:
    """The schema as it is and the body that it would get.

    Asked twice: before workflow_service hears of it, so that nothing is registered for a request
    that must fail, and under the model lock, where the answer stays true.
    """
    old, body = await drafted(context, conn, schema_id, draft)
    if loses_variants(old.body, body) and await store.has_variants(
        conn, context.workspace_id, schema_id
    ):
        raise Conflict(
            f"Field 'variantEnabled' of schema '{truncated(schema_id)}' cannot become false"
            " while its records have variants"
        )
    return old, body


async def drafted(
    context: Context, conn: Conn, schema_id: str, draft: SchemaDraft
) -> tuple[ModelObject, dict[str, Any]]:
    """Return the schema as it is, and the body that it would get.

    Raises all that `replace` raises before it asks for the workflow, except for `Conflict`.
    """
    workspace_id, role = context.workspace_id, context.role
    old = await model_objects.get(conn, SCHEMA, workspace_id, schema_id)
    context.check_version(SCHEMA.title, old.id, old.version)
    sent = body_of(draft, old.body)
    await check_labels(conn, workspace_id, draft, old.body)
    body = await check_body(conn, workspace_id, role, old.id, draft.alias, old.body, sent)
    await check_withheld(conn, workspace_id, role, old.body, body)
    return old, body


def loses_variants(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether records of the schema may have variants before the change, and not after it."""
    return bool(old["variantEnabled"]) and not new["variantEnabled"]


async def _settle_attributes(
    conn: Conn, workspace_id: str, old: ModelObject, new: ModelObject
) -> None:
    """Records keep the values of what the schema has lost, until it has it again."""
    before, after = set(attribute_names(old.body)), set(attribute_names(new.body))
    if before - after:
        await store.remember_lost(conn, workspace_id, new.id, before - after)
    if after - before:
        await store.forget_lost(conn, workspace_id, new.id, after - before)
        found = await model_objects.get_many(conn, ATTRIBUTE, workspace_id, after - before)
        if any(each.body["guards"] for each in found.values()):
            # What these look at may have been written while nothing looked at it.
            await scores.forget(conn, workspace_id, [new.id])
    await building.schema_changed(conn, workspace_id, new.id, before, after)

"""Judges a draft as the PUT would, and looks at the records that it concerns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from records_service.attributes.commands import checked_body
from records_service.attributes.model import AttributeDraft
from records_service.blueprint.blueprint import BLUEPRINTS, Blueprint
from records_service.context import Context
from records_service.model_changes import attributes, schemas
from records_service.option_lists import commands as option_lists
from records_service.option_lists import usage_store
from records_service.option_lists.model import OptionListDraft
from records_service.permissions.store import schemas_with_values
from records_service.previews import change
from records_service.previews.walk import preview
from records_service.schemas.binding import WorkflowBinding, workflow_id_of
from records_service.schemas.counting import check_counting
from records_service.schemas.model import SchemaDraft

Preview = Mapping[str, Any]
"""As it is answered: `PreviewAnswer`."""


async def of_schema(context: Context, schema_id: str, draft: SchemaDraft) -> Preview:
    """What a PUT of a schema would do. Raises what it raises, except for `Conflict`."""
    if draft.workflow_id is not None:
        named = await workflow_id_of(context, schema_id, draft.workflow_id)
        draft = draft.model_copy(update={"workflow_id": named})
    async with context.database.acquire() as conn:
        old, body = await schemas.drafted(context, conn, schema_id, draft)
    new = replace(old, alias=draft.alias, body=body)
    workflow = WorkflowBinding(context, schema_id, body.get("workflowId"))
    await workflow.look()
    async with context.database.acquire() as conn:
        await check_counting(
            conn, context.workspace_id, context.role, new, old.body, workflow.definition
        )
    before = await _blueprint(context)
    return await preview(context, change.of_schema(before, old, new, workflow.definition))


async def of_attribute(context: Context, attribute_id: str, draft: AttributeDraft) -> Preview:
    """What a PUT of an attribute would do. Raises what it raises, except for `Conflict`."""
    sent = await checked_body(draft.model_copy(update={"id": attribute_id}))
    async with context.database.acquire() as conn:
        old, body = await attributes.drafted(context, conn, attribute_id, draft, sent)
        schema_ids = await schemas_with_values(conn, context.workspace_id, [attribute_id])
    new = replace(old, alias=draft.alias, body=body)
    before = await _blueprint(context)
    return await preview(context, change.of_attribute(before, old, new, schema_ids))


async def of_option_list(context: Context, list_id: str, draft: OptionListDraft) -> Preview:
    """What a PUT of an option list would do. Raises what it raises, except for `Conflict`."""
    workspace_id = context.workspace_id
    async with context.database.acquire() as conn:
        _, _, _, gone = await option_lists.drafted(context, conn, list_id, draft)
        choosing = await usage_store.choosing(conn, workspace_id, list_id)
        schema_ids = await schemas_with_values(conn, workspace_id, choosing)
    before = await _blueprint(context)
    return await preview(context, change.of_option_list(before, list_id, gone, schema_ids))


async def of_workflow(context: Context, definition: Mapping[str, Any]) -> Preview:
    """What this definition of a workflow, which workflow_service has judged, would do."""
    return await preview(context, change.of_workflow(await _blueprint(context), definition))


async def _blueprint(context: Context) -> Blueprint:
    return await context.app[BLUEPRINTS].get(context.database, context.workspace_id)

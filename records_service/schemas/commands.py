"""Creates, replaces and deletes schemas, each in one transaction with its event.

A workflow belongs to workflow_service. Before the transaction it is told of the reference, so that
it cannot delete the workflow any more, and hands over the definition; the event of the save confirms
the reference. A save that fails leaves a reference behind that nobody confirms, and
workflow_service's comparison releases it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from records_service.attributes.model import ATTRIBUTE
from records_service.lifecycles import store as lifecycles
from records_service.lifecycles.model import Lifecycle
from records_service.parts import store as parts
from records_service.parts.commands import SOURCE, changing_model, tell
from records_service.parts.model import Part, check_version
from records_service.schemas import store
from records_service.schemas.model import SCHEMA, Schema, SchemaDraft
from shared import outbox
from shared.errors import Conflict, NotFound, ValidationError
from shared.events import (
    ENTITY_TRANSITION,
    SCHEMA_CREATED,
    SCHEMA_DELETED,
    SCHEMA_UPDATED,
    Event,
)
from shared.identity import Identity
from shared.ids import new_id
from shared.postgres import Conn
from shared.upstream import Upstream
from shared.web import identity_of

EVENTS_AT_ONCE = 1_000

WORKFLOW_SERVICE = web.AppKey("workflow_service", Upstream)

Definition = dict[str, Any]


async def create(request: web.Request, draft: SchemaDraft) -> Part:
    """Raises `ValidationError`, or `Conflict` for a taken id or alias."""
    identity = identity_of(request)
    schema_id = draft.id or new_id(SCHEMA.prefix)
    body = draft.stored()
    _check_attributes_once(draft)
    definition = await _workflow(request, schema_id, draft.workflow_id)
    async with changing_model(request.app, identity.workspace_id) as conn:
        await _check_attributes_exist(conn, identity.workspace_id, draft)
        part = await parts.insert(conn, SCHEMA, identity.workspace_id, schema_id, draft.alias, body)
        await _keep_workflow(conn, identity.workspace_id, definition)
        await _tell(conn, SCHEMA_CREATED, identity.workspace_id, part)
    return part


async def replace(
    request: web.Request, schema_id: str, draft: SchemaDraft, expected: frozenset[int] | None
) -> Part:
    """Records in a state that a new workflow does not know go to its default state (Q24)."""
    identity = identity_of(request)
    body = draft.stored()
    _check_attributes_once(draft)
    definition = await _workflow(request, schema_id, draft.workflow_id)
    async with changing_model(request.app, identity.workspace_id) as conn:
        old = await parts.get(conn, SCHEMA, identity.workspace_id, schema_id)
        check_version(SCHEMA.title, old.id, old.version, expected)
        await _check_attributes_exist(conn, identity.workspace_id, draft)
        part = await parts.replace(
            conn, SCHEMA, identity.workspace_id, schema_id, draft.alias, body
        )
        await _keep_workflow(conn, identity.workspace_id, definition)
        if Schema.parse(old).workflow_id != draft.workflow_id:
            await _move_records(conn, identity, schema_id, definition)
        await _tell(conn, SCHEMA_UPDATED, identity.workspace_id, part)
    return part


async def delete(request: web.Request, schema_id: str, expected: frozenset[int] | None) -> None:
    """Raises `Conflict` while a record has it or a relation points to it."""
    workspace_id = identity_of(request).workspace_id
    async with changing_model(request.app, workspace_id) as conn:
        old = await parts.get(conn, SCHEMA, workspace_id, schema_id)
        check_version(SCHEMA.title, old.id, old.version, expected)
        if await store.has_records(conn, workspace_id, schema_id) or await store.is_target(
            conn, workspace_id, schema_id
        ):
            raise Conflict.in_use(SCHEMA.title, schema_id)
        await parts.delete(conn, SCHEMA, workspace_id, schema_id)
        await _tell(conn, SCHEMA_DELETED, workspace_id, old)


async def _workflow(
    request: web.Request, schema_id: str, workflow_id: str | None
) -> Definition | None:
    """Register the reference; the definition, or `ValidationError` where there is no such workflow."""
    if workflow_id is None:
        return None
    try:
        definition: Definition = await request.app[WORKFLOW_SERVICE].request(
            "PUT",
            f"/internal/workflow-references/{schema_id}",
            json={"workflowId": workflow_id},
            request=request,
        )
    except NotFound as error:
        raise ValidationError.at("/workflowId", f"Field 'workflowId': {error.message}") from None
    return definition


async def _keep_workflow(conn: Conn, workspace_id: str, definition: Definition | None) -> None:
    if definition is not None:
        await lifecycles.keep(conn, workspace_id, definition)


async def _move_records(
    conn: Conn, identity: Identity, schema_id: str, definition: Definition | None
) -> None:
    lifecycle = None if definition is None else Lifecycle.parse(definition)
    to_state_id = lifecycle.default_state_id if lifecycle else None
    moved = await store.move_records(
        conn,
        identity.workspace_id,
        schema_id,
        identity.id,
        list(lifecycle.states) if lifecycle else [],
        to_state_id,
    )
    events = [
        Event(
            type=ENTITY_TRANSITION,
            source=SOURCE,
            workspace_id=identity.workspace_id,
            subject=record.id,
            data={
                "entityId": record.id,
                "schemaId": schema_id,
                "version": record.version,
                "lifecycleStateId": to_state_id,
                "userId": identity.id,
                "changes": [],
                "fromStateId": record.from_state_id,
                "toStateId": to_state_id,
                "comment": None,
            },
        )
        for record in moved
    ]
    for start in range(0, len(events), EVENTS_AT_ONCE):
        await outbox.stage(conn, *events[start : start + EVENTS_AT_ONCE])


def _check_attributes_once(draft: SchemaDraft) -> None:
    seen: set[str] = set()
    for index, group in enumerate(draft.attribute_groups):
        for attribute_id in group.attribute_ids:
            if attribute_id in seen:
                raise ValidationError.at(
                    f"/attributeGroups/{index}/attributeIds",
                    f"Attribute '{attribute_id[:128]}' is in the schema twice",
                )
            seen.add(attribute_id)


async def _check_attributes_exist(conn: Conn, workspace_id: str, draft: SchemaDraft) -> None:
    named: Sequence[str] = [i for group in draft.attribute_groups for i in group.attribute_ids]
    missing = await parts.unknown(conn, ATTRIBUTE, workspace_id, named)
    if missing is not None:
        raise ValidationError.at(
            "/attributeGroups", f"Field 'attributeGroups': Attribute '{missing[:128]}' not found"
        )


async def _tell(conn: Conn, event_type: str, workspace_id: str, part: Part) -> None:
    await tell(
        conn,
        event_type,
        workspace_id,
        part,
        schemaId=part.id,
        workflowId=part.body.get("workflowId"),
    )

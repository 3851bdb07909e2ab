"""Creates, replaces and deletes schemas, each in one transaction with its event.

A workflow belongs to workflow_service. In the transaction, before the model lock, it is told of the
reference, so that it cannot delete the workflow any more, and hands over the definition; the event
of the save confirms the reference. A save that fails leaves a reference behind that nobody
confirms, and workflow_service's comparison releases it. A deletion that finds references waits for
the saves that have begun (`lifecycles.store.binds`), so it knows at once whether the workflow is
free.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from aiohttp import web

from records_service.attributes.model import ATTRIBUTE
from records_service.clients import WORKFLOW_SERVICE
from records_service.model_objects import store as parts
from records_service.model_objects.commands import SOURCE, model_change, tell
from records_service.model_objects.model import ModelObject
from records_service.permissions.rules import Role
from records_service.schemas import store
from records_service.schemas.counting import check_counting, check_withheld
from records_service.schemas.groups import attribute_names, body_of, with_ids
from records_service.schemas.model import SCHEMA, SchemaDraft
from records_service.schemas.placing import check_placing
from records_service.workflow_copies import store as lifecycles
from shared.database import DATABASE, Conn
from shared.errors import Conflict, NotFound, ServiceUnavailable, ValidationError, truncated
from shared.events import (
    ENTITY_TRANSITION,
    SCHEMA_CREATED,
    SCHEMA_DELETED,
    SCHEMA_UPDATED,
    Event,
)
from shared.http import call_of, identity_of
from shared.http.versions import Versions, check_version
from shared.identity import Identity
from shared.ids import new_id
from shared.messaging import outbox
from shared.process.keyed_semaphore import KeyedSemaphore

EVENTS_AT_ONCE = 1_000

NEIGHBOUR_SLOTS = web.AppKey("askers", KeyedSemaphore)
"""Places for those that hold a connection while workflow_service answers. When it hangs they wait
for as long as `shared.http.client` does, and the other connections serve everybody else."""

Definition = dict[str, Any]


async def create(request: web.Request, role: Role | None, draft: SchemaDraft) -> ModelObject:
    """Raises `ValidationError`, `Conflict` for a taken id or alias, or `PermissionDenied`."""
    app, workspace_id = request.app, identity_of(request).workspace_id
    schema_id = draft.id or new_id(SCHEMA.prefix)
    sent = body_of(draft)
    async with app[DATABASE].acquire() as conn:
        await _sound(conn, workspace_id, role, schema_id, draft.alias, None, sent)
        await store.check_free(conn, workspace_id, schema_id, draft.alias)
    workflow = _Workflow(request, schema_id, draft.workflow_id)
    async with workflow.place(), model_change(app, workspace_id, workflow.refer) as conn:
        body = await _sound(conn, workspace_id, role, schema_id, draft.alias, None, sent)
        part = await parts.insert(conn, SCHEMA, workspace_id, schema_id, draft.alias, body)
        await check_counting(conn, workspace_id, role, part, None, workflow.definition)
        if workflow.definition is not None:
            await lifecycles.keep(conn, workspace_id, workflow.definition)
        naming = await parts.naming(conn, SCHEMA, workspace_id, part)
        await _tell(conn, SCHEMA_CREATED, workspace_id, part, **naming)
    return part


async def replace(
    request: web.Request,
    role: Role | None,
    schema_id: str,
    draft: SchemaDraft,
    expected: Versions,
) -> ModelObject:
    """Replace a schema. Records in a state that a new workflow lacks move to its default state.

    Groups and workflow are kept if they are left out; otherwise every record would lose its visible
    values and its state.
    """
    identity = identity_of(request)
    app, workspace_id = request.app, identity.workspace_id
    async with app[DATABASE].acquire() as conn:
        _, asked = await _judge(conn, workspace_id, role, schema_id, draft, expected)
    workflow_id = asked.get("workflowId")
    workflow = _Workflow(request, schema_id, workflow_id)
    async with workflow.place(), model_change(app, workspace_id, workflow.refer) as conn:
        old, body = await _judge(conn, workspace_id, role, schema_id, draft, expected)
        if body.get("workflowId") != workflow_id:
            raise ServiceUnavailable(
                f"The workflow of schema '{truncated(schema_id)}' is being changed"
            )
        if draft.alias != old.alias:
            await parts.check_may_be_renamed(conn, SCHEMA, workspace_id, old)
            await parts.remember_alias(conn, SCHEMA, workspace_id, old)
        part = await parts.replace(conn, SCHEMA, workspace_id, schema_id, draft.alias, body)
        await check_counting(conn, workspace_id, role, part, old.body, workflow.definition)
        if workflow.definition is not None:
            await lifecycles.keep(conn, workspace_id, workflow.definition)
        if old.body.get("workflowId") != workflow_id:
            await _move_records(conn, identity, schema_id, workflow_id)
        await _tell(conn, SCHEMA_UPDATED, workspace_id, part)
    return part


async def delete(request: web.Request, schema_id: str, expected: Versions) -> None:
    """Raises `Conflict` while a record has it or a relation points to it."""
    workspace_id = identity_of(request).workspace_id
    async with model_change(request.app, workspace_id) as conn:
        old = await parts.get(conn, SCHEMA, workspace_id, schema_id)
        check_version(SCHEMA.title, old.id, old.version, expected)
        if await store.has_records(conn, workspace_id, schema_id) or await store.is_target(
            conn, workspace_id, schema_id
        ):
            raise Conflict.in_use(SCHEMA.title, schema_id)
        await parts.remember_alias(conn, SCHEMA, workspace_id, old)
        await parts.delete(conn, SCHEMA, workspace_id, schema_id)
        await _tell(conn, SCHEMA_DELETED, workspace_id, old)


class _Workflow:
    """The workflow that a schema is about to be saved with, if any."""

    def __init__(self, request: web.Request, schema_id: str, workflow_id: str | None) -> None:
        self._request = request
        self._schema_id = schema_id
        self._workflow_id = workflow_id
        self.definition: Definition | None = None
        """Known when the reference is registered."""

    def place(self) -> AbstractAsyncContextManager[None]:
        """To be held around the transaction in which `refer` is called."""
        if self._workflow_id is None:
            return nullcontext()
        return self._request.app[NEIGHBOUR_SLOTS].of(WORKFLOW_SERVICE)

    async def refer(self, conn: Conn) -> None:
        """Register the reference; `ValidationError` for an unknown workflow."""
        if self._workflow_id is None:
            return
        await lifecycles.binding(conn, identity_of(self._request).workspace_id)
        try:
            self.definition = await self._request.app[WORKFLOW_SERVICE].request(
                "PUT",
                f"/internal/workflow-references/{self._schema_id}",
                json={"workflowId": self._workflow_id},
                call=call_of(self._request),
            )
        except NotFound as error:
            raise ValidationError.at(
                "/workflowId", f"Field 'workflowId': {error.message}"
            ) from None


async def _judge(
    conn: Conn,
    workspace_id: str,
    role: Role | None,
    schema_id: str,
    draft: SchemaDraft,
    expected: Versions,
) -> tuple[ModelObject, dict[str, Any]]:
    """The schema as it is and the body that it would get.

    Asked twice: before workflow_service hears of it, so that nothing is registered for a request
    that must fail, and under the model lock, where the answer stays true.
    """
    old = await parts.get(conn, SCHEMA, workspace_id, schema_id)
    check_version(SCHEMA.title, old.id, old.version, expected)
    sent = body_of(draft, old.body)
    body = await _sound(conn, workspace_id, role, old.id, draft.alias, old.body, sent)
    await check_withheld(conn, workspace_id, role, old.body, body)
    return old, body


async def _sound(
    conn: Conn,
    workspace_id: str,
    role: Role | None,
    schema_id: str,
    alias: str,
    old: Mapping[str, Any] | None,
    sent: dict[str, Any],
) -> dict[str, Any]:
    """The body with ids; `ValidationError` for what is none, `PermissionDenied` for the role."""
    ids = await parts.ids_of(conn, ATTRIBUTE, workspace_id, attribute_names(sent))
    body = with_ids(sent, ids)
    if role is not None:
        await check_placing(conn, workspace_id, role, schema_id, alias, old, body)
    return body


async def _move_records(
    conn: Conn, identity: Identity, schema_id: str, workflow_id: str | None
) -> None:
    """Give every record a state that the workflow in force now knows."""
    lifecycle = (
        None
        if workflow_id is None
        else await lifecycles.get(conn, identity.workspace_id, workflow_id)
    )
    if lifecycle is not None and lifecycle.default_state_id in lifecycle.retired:
        # The workflow is about to have another first state; it is not known here yet.
        raise ServiceUnavailable(
            f"The workflow of schema '{truncated(schema_id)}' is being changed"
        )
    to_state_id = lifecycle.default_state_id if lifecycle else None
    moved = await store.move_records(
        conn,
        identity.workspace_id,
        schema_id,
        identity.id,
        sorted(lifecycle.states.keys() - lifecycle.retired) if lifecycle else [],
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


async def _tell(
    conn: Conn, event_type: str, workspace_id: str, part: ModelObject, **naming: Any
) -> None:
    await tell(
        conn,
        event_type,
        workspace_id,
        part,
        schemaId=part.id,
        workflowId=part.body.get("workflowId"),
        **naming,
    )

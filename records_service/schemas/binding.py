"""Binds a schema to its workflow, which belongs to workflow_service.

In the transaction that saves a schema, before the model lock, workflow_service is told of the
reference, so that it cannot delete the workflow any more, and hands over the definition; the event
of the save confirms the reference. A save that fails leaves a reference behind that nobody
confirms; workflow_service's reconciliation releases it. A deletion that finds references waits for
the saves that have begun (`workflow_copies.store.binds`), so it knows at once whether the workflow
is free.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from aiohttp import web

from records_service.clients import WORKFLOW_SERVICE
from records_service.context import Context
from records_service.workflow_copies import store as workflow_copies
from shared.database import Conn
from shared.errors import NotFound, ValidationError
from shared.http.retries import DRY_RUNNING
from shared.process.waiting import KeyedSemaphore

REMOTE_CALL_SLOTS = web.AppKey("remote_call_slots", KeyedSemaphore)
"""Places for those that hold a connection while workflow_service answers. When it hangs they wait
for as long as `shared.http.client` does, and the other connections serve everybody else."""

Definition = dict[str, Any]


class WorkflowBinding:
    """The workflow that a schema is about to be saved with, if any."""

    def __init__(self, context: Context, schema_id: str, workflow_id: str | None) -> None:
        self._context = context
        self._schema_id = schema_id
        self._workflow_id = workflow_id
        self.definition: Definition | None = None
        """Known when the reference is registered, or was looked at."""

    def place(self) -> AbstractAsyncContextManager[None]:
        """To be held around the transaction in which `refer` is called."""
        if self._workflow_id is None:
            return nullcontext()
        return self._context.app[REMOTE_CALL_SLOTS].of(WORKFLOW_SERVICE)

    async def refer(self, conn: Conn) -> None:
        """Register the reference; `ValidationError` for an unknown workflow."""
        if self._workflow_id is None:
            return
        await workflow_copies.binding(conn, self._context.workspace_id)
        await self._ask()

    async def look(self) -> None:
        """Learn the definition, and register nothing; raises as `refer` does."""
        if self._workflow_id is None:
            return
        token = DRY_RUNNING.set(True)
        try:
            async with self.place():
                await self._ask()
        finally:
            DRY_RUNNING.reset(token)

    async def _ask(self) -> None:
        try:
            self.definition = await self._context.app[WORKFLOW_SERVICE].request(
                "PUT",
                f"/internal/workflow-references/{self._schema_id}",
                json={"workflowId": self._workflow_id},
                call=self._context.call,
            )
        except NotFound as error:
            raise ValidationError.at(
                "/workflowId", f"Field 'workflowId': {error.message}"
            ) from None


async def workflow_id_of(context: Context, schema_id: str, name: str | None) -> str | None:
    """The id of the workflow that a schema names by its id or alias, which means the id first.

    Only what is no id of a workflow that is known here is asked for. Raises as `refer` does.
    """
    if name is None:
        return None
    async with context.database.acquire() as conn:
        if await workflow_copies.get_many(conn, context.workspace_id, [name]):
            return name
    workflow = WorkflowBinding(context, schema_id, name)
    await workflow.look()
    assert workflow.definition is not None
    return str(workflow.definition["id"])

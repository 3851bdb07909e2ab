"""Replaces a name in stored workflows with the id of the attribute that got it as its alias."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from shared.database import Database, sizes
from shared.errors import (
    NotFound,
    ValidationError,
)
from shared.events import EventType
from shared.messaging import outbox
from workflow_service.definitions.model import Workflow
from workflow_service.definitions.validation import check_size
from workflow_service.names import store as names
from workflow_service.names.replacement import attribute_named
from workflow_service.names.resolution import attribute_names
from workflow_service.workflows import store
from workflow_service.workflows.commands import workflow_event


async def name_attribute(
    db: Database,
    workspace_id: str,
    attribute_id: str,
    alias: str,
    others: Sequence[str],
    former_aliases: Sequence[str],
    *,
    model_version: int,
    is_new: bool,
) -> None:
    """Let workflows that name the attribute by this alias hold its id (`names/replacement.py`).

    Only workflows in which the name was unknown at an older model version are changed. The function
    waits for a concurrent change of a workflow.
    """
    async with db.acquire() as conn:
        workflow_ids = await names.with_unknown(
            conn, workspace_id, (alias, attribute_id), model_version
        )
    for workflow_id in workflow_ids:
        with suppress(NotFound):
            async with db.transaction() as conn:
                known = await store.get_locked(conn, workspace_id, workflow_id)
                # A name equal to the new id means that id from now on, so it is no longer unknown.
                await names.forget_unknown(
                    conn, workspace_id, workflow_id, attribute_id, model_version
                )
                if not await names.is_unknown(
                    conn, workspace_id, workflow_id, alias, model_version
                ):
                    continue
                states = attribute_named(
                    known.states, alias, attribute_id, others, former_aliases, is_new=is_new
                )
                named = known.model_copy(update={"states": states, "updated_at": datetime.now(UTC)})
                if states == known.states or not _fits(named):
                    continue
                stored, growth = await store.update(conn, workspace_id, named)
                if alias not in attribute_names(states):
                    await names.forget_unknown(
                        conn, workspace_id, workflow_id, alias, model_version
                    )
                await outbox.stage(
                    conn, workflow_event(EventType.WORKFLOW_UPDATED, workspace_id, stored)
                )
                await sizes.add(conn, workspace_id, store.TABLE, growth)


def _fits(workflow: Workflow) -> bool:
    """Whether the workflow with the new id is within its size limit; if not, it keeps the name."""
    try:
        check_size(workflow)
    except ValidationError:
        return False
    return True

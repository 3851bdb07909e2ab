"""A change set as it is answered: with operations and remarks, without what is hidden."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.database import Database
from workflow_service.change_sets.model import SHOWN_MAX, ChangeSet
from workflow_service.clients import Clients
from workflow_service.proposals import store as operations
from workflow_service.proposals.completing import visible_attributes, with_values_of_now
from workflow_service.remarks import store as remarks
from workflow_service.remarks.model import Annotation


async def whole(db: Database, clients: Clients, change_set: ChangeSet) -> dict[str, Any]:
    """The change set as `ChangeSetAnswer`."""
    workspace_id = change_set.workspace_id
    async with db.acquire() as conn:
        first = await operations.first_of(conn, workspace_id, change_set.id, SHOWN_MAX)
        messages, count = await remarks.messages_of(conn, workspace_id, change_set.id)
    return {
        **change_set.public(),
        "operations": await with_values_of_now(clients, first),
        "messageCount": count,
        "messages": [one.public() for one in messages],
        "annotations": [one.public() for one in await visible_annotations(db, clients, change_set)],
    }


async def visible_annotations(
    db: Database, clients: Clients, change_set: ChangeSet
) -> Sequence[Annotation]:
    """The annotations, oldest first, without those of attributes that the caller may not see."""
    workspace_id = change_set.workspace_id
    async with db.acquire() as conn:
        found = await remarks.annotations_of(conn, workspace_id, change_set.id)
        named = {one.operation_id for one in found}
        of = await operations.some_of(conn, workspace_id, change_set.id, sorted(named))
    if not found:
        return found
    seen = await visible_attributes(clients, of)
    return [one for one in found if one.attribute_id in seen.get(one.operation_id, ())]

"""What reviewers said of a change set, put together."""

from __future__ import annotations

from typing import Any

from shared.database import Database
from workflow_service.change_sets.model import ChangeSet
from workflow_service.change_sets.reading import visible_annotations
from workflow_service.clients import Clients
from workflow_service.proposals import store as operations
from workflow_service.proposals.completing import visible_attributes
from workflow_service.remarks import store as remarks


async def feedback_of(db: Database, clients: Clients, change_set: ChangeSet) -> dict[str, Any]:
    """The rejected operations, ratings, annotations and messages, as `Feedback`."""
    workspace_id = change_set.workspace_id
    async with db.acquire() as conn:
        judged = await operations.judged_of(conn, workspace_id, change_set.id)
        messages, count = await remarks.messages_of(conn, workspace_id, change_set.id)
    rated = [one for one in judged if one.ratings]
    seen = await visible_attributes(clients, rated)
    return {
        "rejected": [{"operationId": one.id} for one in judged if one.status == "rejected"],
        "ratings": [
            {"operationId": one.id, "attribute": alias, "rating": one.ratings[attribute_id]}
            for one in rated
            for attribute_id, alias in seen[one.id].items()
            if attribute_id in one.ratings
        ],
        "annotations": [one.public() for one in await visible_annotations(db, clients, change_set)],
        "messageCount": count,
        "messages": [one.public() for one in messages],
    }

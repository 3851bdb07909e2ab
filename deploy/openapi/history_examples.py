"""Examples of the history, and of how long it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy.local import catalogue
from deploy.openapi.schemas import Examples
from deploy.openapi.session_examples import ADMIN


def history_examples(record_id: str, time: str, page: Mapping[str, Any]) -> dict[str, Examples]:
    """The examples; a change of this record at this time is all that there is on a page."""
    change = {
        "attribute": "price",
        "scope": {catalogue.MARKET: "seg-dk"},
        "oldValue": 899,
        "newValue": 949,
    }
    entry = {
        "id": "aud-4711",
        "entityId": record_id,
        "action": "update",
        "userId": ADMIN["id"],
        "timestamp": time,
        "changes": [change],
    }
    history = Examples(answered={"items": [entry], **page})
    retention = {"days": 365, "updatedAt": time, "updatedBy": ADMIN["id"]}
    return {
        "listRecordHistory": history,
        "listWorkspaceHistory": history,
        "getRetention": Examples(answered=retention),
        "chooseRetention": Examples({"days": 365}, retention),
    }

"""Examples of the history, of how long it is kept, and of the change feed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from deploy.local import catalogue
from deploy.openapi.schemas import Examples
from deploy.openapi.session_examples import ADMIN

_TOKEN: Final = "AjLfV2xwDgkQ0NPUWzAsNDcxMV0"  # noqa: S105 - a place in the feed
_SNAPSHOT: Final = (
    f'{{"token":"{_TOKEN}"}}\n'
    '{"id":"ent-coastal-wb","schemaId":"schema-apparel","version":4,"values":{}}\n'
)


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
    event = {
        "specversion": "1.0",
        "id": "evt-0b3e4c1e8a674c0e9a40",
        "type": "entity.updated",
        "source": "/records_service",
        "subject": record_id,
        "time": time,
        "datacontenttype": "application/json",
        "workspaceid": "ws-demo",
        "data": {
            "entityId": record_id,
            "schemaId": catalogue.APPAREL,
            "version": 4,
            "lifecycleStateId": "state-draft",
            "userId": ADMIN["id"],
            "changes": [{**change, "attributeId": "attr-price"}],
        },
    }
    return {
        "followChanges": Examples(answered={"items": [event], "next": _TOKEN, "more": False}),
        "readSnapshot": Examples(answered=_SNAPSHOT),
        "listRecordHistory": history,
        "listWorkspaceHistory": history,
        "getRetention": Examples(answered=retention),
        "chooseRetention": Examples({"days": 365}, retention),
    }

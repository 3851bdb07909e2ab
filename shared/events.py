"""The events that services publish: their format, and the name of every event type.

An event is a CloudEvents 1.0 document in structured JSON mode. Its `type` is also the routing key
on the topic exchange `sigma.events`, and its `subject` is the id of the changed object. Its data
contain the object's `version`, so that a consumer can recognise an outdated message. Of a change
that is traced, its `traceparent` names the span that made it (the extension "distributed tracing").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import orjson

from shared.frozen import quick
from shared.ids import new_id
from shared.timestamps import format_timestamp

SPEC_VERSION = "1.0"

TRACE: Final[ContextVar[str | None]] = ContextVar("trace", default=None)
"""The W3C `traceparent` of what is being done, if that is traced."""
_TRACEPARENT: Final = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_BEGINS_WITH_TRACE: Final = re.compile(r'\{"traceparent":"([0-9a-f-]{55})"')


class EventType(StrEnum):
    """The name of every event type."""

    ENTITY_CREATED = "entity.created"
    ENTITY_UPDATED = "entity.updated"
    ENTITY_DELETED = "entity.deleted"
    ENTITY_TRANSITION = "entity.transition"
    VARIANT_CREATED = "variant.created"
    VARIANT_UPDATED = "variant.updated"
    VARIANT_DELETED = "variant.deleted"

    SCHEMA_CREATED = "schema.created"
    SCHEMA_UPDATED = "schema.updated"
    SCHEMA_DELETED = "schema.deleted"
    ATTRIBUTE_CREATED = "schema.attribute.created"
    ATTRIBUTE_UPDATED = "schema.attribute.updated"
    ATTRIBUTE_DELETED = "schema.attribute.deleted"
    DIMENSION_CREATED = "schema.dimension.created"
    DIMENSION_UPDATED = "schema.dimension.updated"
    DIMENSION_DELETED = "schema.dimension.deleted"
    OPTION_LIST_CREATED = "schema.option-list.created"
    OPTION_LIST_UPDATED = "schema.option-list.updated"
    OPTION_LIST_DELETED = "schema.option-list.deleted"

    CATALOG_CREATED = "catalog.created"
    CATALOG_UPDATED = "catalog.updated"
    CATALOG_DELETED = "catalog.deleted"
    CATEGORY_CREATED = "category.created"
    CATEGORY_UPDATED = "category.updated"
    CATEGORY_DELETED = "category.deleted"
    CATEGORY_ASSIGNED = "category.assigned"
    CATEGORY_UNASSIGNED = "category.unassigned"

    WORKFLOW_CREATED = "workflow.created"
    WORKFLOW_UPDATED = "workflow.updated"
    WORKFLOW_DELETED = "workflow.deleted"

    WORKSPACE_CREATED = "auth.workspace.created"
    WORKSPACE_UPDATED = "auth.workspace.updated"
    USER_CREATED = "auth.user.created"
    USER_UPDATED = "auth.user.updated"
    USER_DISABLED = "auth.user.disabled"
    USER_DELETED = "auth.user.deleted"
    ROLE_CREATED = "auth.role.created"
    ROLE_UPDATED = "auth.role.updated"
    ROLE_DELETED = "auth.role.deleted"
    KEY_CREATED = "auth.key.created"
    KEY_DEACTIVATED = "auth.key.deactivated"
    KEY_DELETED = "auth.key.deleted"
    RECORDS_RESTORED = "records.restored"
    """The database of records_service was set back (shared/database/restored.py)."""
    RECORDS_JOB = "records.job"
    """A turn of a background job of records_service (shared/messaging/jobs.py)."""

    AUTH_WATERMARK = "auth.pulse"
    """A heartbeat of the relay (see shared/messaging/relay.py), and the only type not staged.

    The value is older than the term: it is the name that gateways of the last version know.
    """


@quick
class Event:
    """One event. `data` is JSON and contains the subject's `version`."""

    type: str
    source: str
    workspace_id: str
    subject: str
    data: Mapping[str, Any]
    id: str = field(default_factory=lambda: new_id("evt"))
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    traceparent: str | None = field(default_factory=TRACE.get)

    @property
    def version(self) -> int:
        """The subject's version after this event; 0 if the subject has no version."""
        return int(self.data.get("version", 0))

    def to_json(self) -> bytes:
        """The CloudEvents document, as it is stored in the outbox and sent.

        It begins with `traceparent`, if it has one: so that is found without reading it all.
        """
        traced = {} if self.traceparent is None else {"traceparent": self.traceparent}
        return orjson.dumps(
            traced
            | {
                "specversion": SPEC_VERSION,
                "id": self.id,
                "type": self.type,
                "source": self.source,
                "subject": self.subject,
                "time": format_timestamp(self.time),
                "datacontenttype": "application/json",
                "workspaceid": self.workspace_id,
                "data": self.data,
            }
        )

    @classmethod
    def from_json(cls, document: bytes) -> Event:
        """Parse a message; raises `ValueError` if it is not a valid event."""
        try:
            parsed = orjson.loads(document)
            if parsed["specversion"] != SPEC_VERSION or not isinstance(parsed["data"], dict):
                raise ValueError("not a CloudEvents 1.0 document with an object as data")
            return cls(
                type=_text(parsed["type"]),
                source=_text(parsed["source"]),
                workspace_id=_text(parsed["workspaceid"]),
                subject=_text(parsed["subject"]),
                data=parsed["data"],
                id=_text(parsed["id"]),
                time=datetime.fromisoformat(parsed["time"]),
                traceparent=_trace(parsed.get("traceparent")),
            )
        except (KeyError, TypeError, orjson.JSONDecodeError) as error:
            raise ValueError(f"not an event: {error!r}") from error


def trace_in(document: str) -> str | None:
    """The `traceparent` with which the document of an event begins."""
    found = _BEGINS_WITH_TRACE.match(document)
    return None if found is None else found[1]


def _trace(value: object) -> str | None:
    """A trace is a help and no part of the news, so one that is malformed is left out."""
    return value if isinstance(value, str) and _TRACEPARENT.fullmatch(value) else None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(type(value).__name__)
    return value

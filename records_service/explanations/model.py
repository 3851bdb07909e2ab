"""The question whether somebody may do something, and the answer with its reasons."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from records_service.model_objects.model import Body, Id
from shared.http.shapes import Closed, Shape

NAME_LENGTH_MAX: Final = 255


class PermissionAction(StrEnum):
    """What somebody wants to do."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    TRANSITION = "transition"
    ASSIGN = "assign"
    MANAGE = "manage"


class PermissionResource(StrEnum):
    """A collection of the API."""

    SCHEMAS = "schemas"
    ATTRIBUTES = "attributes"
    DIMENSIONS = "dimensions"
    OPTION_LISTS = "option-lists"
    ROLES = "roles"
    WORKFLOWS = "workflows"
    CATALOGS = "catalogs"
    CATEGORIES = "categories"
    SAVED_QUERIES = "saved-queries"
    HISTORY = "history"
    IMPORTS = "imports"
    EXPORTS = "exports"
    CHANGE_SETS = "change-sets"
    CHANGES = "changes"
    JOBS = "jobs"
    CHANNELS = "channels"
    WEBHOOKS = "webhooks"
    API_KEYS = "api-keys"
    EXPORT_JOBS = "export-jobs"


class ReasonSource(StrEnum):
    """What a reason comes from."""

    ROLE = "role"
    STATE = "state"
    KEY = "key"
    WORKFLOW = "workflow"
    CATALOG = "catalog"
    WORKSPACE = "workspace"


class ReasonEffect(StrEnum):
    """Whether a reason speaks for or against."""

    ALLOW = "allow"
    DENY = "deny"


_Name = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH_MAX)]


class ExplainRequest(Body, Closed):
    """Who wants to do what with which thing.

    One of `entityId`, `schemaId`, `catalogId` and `resource` names the thing.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    role_id: Id | None = None
    """Id of a role: what a user with this role may do. Without it and `apiKeyId`: the caller."""
    api_key_id: Id | None = None
    """Id of an API key: what this key may do."""
    action: PermissionAction = Field(examples=["write"])
    """What is to be done. `write` with `schemaId` is to create a record, `delete` with it to delete
    one. `transition` takes `entityId` and `toStateId`, `assign` takes `catalogId`. With `resource`,
    `write` and `manage` are the same: to create and to change."""
    entity_id: Id | None = Field(default=None, examples=["ent-coastal-wb"])
    """Id of a record. Its variants are judged as the record is."""
    schema_id: Id | None = None
    """Id of a schema."""
    catalog_id: Id | None = None
    """Id of a catalog."""
    attribute: _Name | None = Field(default=None, examples=["price"])
    """Id or alias of an attribute of the record or schema, to read or write."""
    to_state_id: _Name | None = None
    """Id or alias of the state that the record is to be moved to."""
    resource: PermissionResource | None = None
    """A collection of the API."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One rule that was applied."""

    source: ReasonSource
    rule: str
    allows: bool

    def shown(self) -> dict[str, str]:
        """As the answer has it."""
        effect = ReasonEffect.ALLOW if self.allows else ReasonEffect.DENY
        return {"source": self.source, "rule": self.rule, "effect": effect}


class PermissionReasonAnswer(Shape):
    """One rule that was applied."""

    source: ReasonSource
    """What the rule belongs to."""
    rule: str
    """The rule, for people."""
    effect: ReasonEffect
    """Whether it speaks for or against."""


class ExplanationAnswer(Shape):
    """Whether it is allowed, and all rules that were applied, in the order of the checks."""

    allowed: bool
    """Whether a request would be allowed; it may still fail for what it sends."""
    decided_by: ReasonSource = Field(alias="decidedBy")
    """The source of the first reason against it; if there is none, of the last reason for it."""
    reasons: Annotated[list[PermissionReasonAnswer], Field(min_length=1)]
    """Every rule that was applied."""

"""One workspace with its callers, and short words for building a model in it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from shared.identity import Permission
from tests.kit.sigma import Caller

if TYPE_CHECKING:
    from tests.kit.stack import Stack

STATES = ("draft", "review", "published")


class ModelBuilder:
    """Builds a data model over the API: wherever there is an administrator to act as.

    Builders answer the created object, and fail with the service's answer when it is refused.
    """

    admin: Caller
    """An administrator of the workspace; it may be a property."""

    @property
    def workflow_admin(self) -> Caller:
        """The same at workflow_service, where no gateway stands before the services."""
        return self.admin

    async def role(
        self, role_id: str, permissions: Mapping[str, Mapping[str, str]] | None = None, **more: Any
    ) -> dict[str, Any]:
        """A role; `permissions` is `{schema id: {attribute id: "write" | "read" | "hidden"}}`."""
        granted = [
            {"schemaId": schema_id, "attributePermissions": dict(by_attribute)}
            for schema_id, by_attribute in (permissions or {}).items()
        ]
        body = {"id": role_id, "name": role_id, "schemaPermissions": granted, **more}
        return await self._made("/roles", body)

    async def dimension(self, alias: str, segments: Sequence[str], **more: Any) -> dict[str, Any]:
        """`dim-<alias>` with `seg-<segment>` each; the first one is the default."""
        body = {
            "id": f"dim-{alias}",
            "alias": alias,
            "name": alias,
            "defaultSegmentId": f"seg-{segments[0]}",
            "segments": [{"id": f"seg-{name}", "alias": name, "name": name} for name in segments],
        }
        return await self._made("/dimensions", body | more)

    async def option_list(self, alias: str, values: Sequence[str], **more: Any) -> dict[str, Any]:
        """`ol-<alias>` with `val-<value>` each."""
        body = {
            "id": f"ol-{alias}",
            "alias": alias,
            "name": alias,
            "values": [{"id": f"val-{name}", "alias": name, "label": name} for name in values],
        }
        return await self._made("/option-lists", body | more)

    async def attribute(self, alias: str, kind: str = "text", **more: Any) -> dict[str, Any]:
        """`attr-<alias>` of this type; further fields as the API has them."""
        body = {"id": f"attr-{alias}", "alias": alias, "name": alias, "type": kind}
        return await self._made("/attributes", body | more)

    async def schema(
        self, alias: str, attributes: Sequence[str], workflow: str | None = None, **more: Any
    ) -> dict[str, Any]:
        """`schema-<alias>` with `attr-<alias>` of each attribute named, in one group."""
        more |= {} if workflow is None else {"workflowId": workflow}
        return await self._made("/schemas", schema_body(alias, attributes, **more))

    async def workflow(
        self,
        alias: str = "lifecycle",
        states: Sequence[str] | Mapping[str, Mapping[str, Any]] = STATES,
        transitions: Sequence[tuple[str, str] | tuple[str, str, Mapping[str, Any]]] | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """`wf-<alias>`. States are names, or names with fields; a transition is (from, to, fields).

        Without `transitions` each state leads to the next one, ungated.
        """
        names = list(states)
        if transitions is None:
            transitions = list(pairwise(names))
        body = workflow_body(alias, states, transitions) | more
        return await self._made("/workflows", body, self.workflow_admin)

    async def record(
        self, schema_id: str, values: Mapping[str, Any] | None = None, **more: Any
    ) -> dict[str, Any]:
        """A record; `values` is `{alias: value}` for unscoped ones or `{alias: [entries]}`."""
        body = {"schemaId": schema_id, "values": entries(values or {})}
        return await self._made("/records", body | more)

    async def catalog(self, alias: str, **more: Any) -> dict[str, Any]:
        """`cat-<alias>`, without categories."""
        body = {"id": f"cat-{alias}", "alias": alias, "name": alias}
        return await self._made("/catalogs", body | more)

    async def category(
        self, name: str, catalog: str = "webshop", parent: str | None = None, **more: Any
    ) -> dict[str, Any]:
        """`ctg-<name>` in `cat-<catalog>`, below `ctg-<parent>` or at the top."""
        body = {
            "id": f"ctg-{name}",
            "name": name,
            "parentId": None if parent is None else f"ctg-{parent}",
        }
        return await self._made(f"/catalogs/cat-{catalog}/categories", body | more)

    async def _made(
        self, path: str, body: Mapping[str, Any], caller: Caller | None = None
    ) -> dict[str, Any]:
        answer = await (caller or self.admin).post(path, body)
        assert answer.status == 201, f"POST {path}: {answer.outcome}"
        made: dict[str, Any] = answer.body
        return made


class Workspace(ModelBuilder):
    """What `await stack.workspace()` gives. Nothing in it is shared with another test."""

    def __init__(self, stack: Stack, workspace_id: str) -> None:
        self.stack = stack
        self.id = workspace_id

    @property
    def records_database(self) -> str:
        """The URL of the database of records_service."""
        return self.stack.databases["records_service"]

    @property
    def workflow_database(self) -> str:
        """The URL of the database of workflow_service."""
        return self.stack.databases["workflow_service"]

    async def api_key(self, permissions: Iterable[str] = tuple(Permission)) -> Caller:
        """A caller with a new API key that holds these permissions, all five by default."""
        body = {"name": "test", "permissions": [str(permission) for permission in permissions]}
        key = (await self.admin.post("/api-keys", body)).ok()
        return self.stack.caller(**{"X-Sigma-ApiKey": key["key"]})

    async def user(self, role: str = "role-editor", user_id: str = "") -> Caller:
        """A caller who logged in as a new user with this role."""
        user_id = user_id or f"user-{secrets.token_hex(4)}"
        email = self.email(user_id)
        await self.stack.create_user(self.id, user_id, email, role)
        return await self.log_in(email)

    def email(self, user_id: str) -> str:
        """The address that `user` gave to this user."""
        return f"{user_id}@{self.id}.test"

    async def log_in(self, email: str) -> Caller:
        """A caller with a fresh token."""
        credentials = {"email": email, "password": self.stack.password}
        answer = (await self.stack.caller().post("/auth/login", credentials)).ok()
        return self.stack.caller(Authorization=f"Bearer {answer['token']}")


def schema_body(alias: str, attributes: Iterable[str], **more: Any) -> dict[str, Any]:
    """The request body of a schema with `attr-<alias>` of each attribute, in one group."""
    group = {
        "id": f"grp-{alias}",
        "name": "General",
        "sortOrder": 0,
        "attributeIds": [f"attr-{attribute}" for attribute in attributes],
    }
    return {
        "id": f"schema-{alias}",
        "alias": alias,
        "name": alias,
        "variantEnabled": False,
        "attributeGroups": [group],
        **more,
    }


def workflow_body(
    alias: str,
    states: Sequence[str] | Mapping[str, Mapping[str, Any]],
    transitions: Sequence[tuple[str, str] | tuple[str, str, Mapping[str, Any]]],
) -> dict[str, Any]:
    """The request body of a workflow with `state-<name>` for each state."""
    fields = dict(states) if isinstance(states, Mapping) else {name: {} for name in states}
    return {
        "id": f"wf-{alias}",
        "alias": alias,
        "name": alias,
        "defaultStateId": f"state-{next(iter(fields))}",
        "states": [
            {"id": f"state-{name}", "name": name, "alias": name, **more}
            for name, more in fields.items()
        ],
        "transitions": [
            {
                "fromStateId": f"state-{step[0]}",
                "toStateId": f"state-{step[1]}",
                **(step[2] if len(step) == 3 else {}),
            }
            for step in transitions
        ],
    }


def entries(values: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """`{"sku": "AB-123"}` as the API writes it: `{"sku": [{"scope": {}, "value": "AB-123"}]}`.

    A list of entries with `scope` and `value` is kept as it is.
    """
    return {
        alias: value if _is_entries(value) else [{"scope": {}, "value": value}]
        for alias, value in values.items()
    }


def _is_entries(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(entry, dict) and entry.keys() == {"scope", "value"} for entry in value)
    )

"""Whom a question is about: the caller, the users of a role, or an API key."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from records_service.clients import AUTH_SERVICE
from records_service.context import Context
from records_service.explanations.model import ExplainRequest, ReasonSource
from records_service.permissions.rules import Role
from shared.errors import NotFound, ServiceUnavailable, truncated
from shared.identity import ADMIN_ROLE, ALL_PERMISSIONS, Flag, Identity, Permission


@dataclass(frozen=True, slots=True)
class Subject:
    """A caller that is judged, as a context in which the functions that decide can be called."""

    context: Context
    ended: str | None = None
    """Why it may do nothing at all."""

    @property
    def source(self) -> ReasonSource:
        """What its rights come from."""
        return ReasonSource.KEY if self.context.identity.kind == "api_key" else ReasonSource.ROLE

    @property
    def gating_role(self) -> str:
        """The role that the gates of transitions judge; an API key counts as `role-admin`."""
        return (
            ADMIN_ROLE if self.source is ReasonSource.KEY else self.context.identity.role_id or ""
        )


async def subject_of(context: Context, asked: ExplainRequest) -> Subject:
    """Whom the question is about.

    Raises `PermissionDenied` for others than the caller, unless the caller manages roles;
    `NotFound` for a role or a key that the workspace does not have.
    """
    caller = context.identity
    if asked.api_key_id is not None:
        if caller.kind == "api_key" and caller.id == asked.api_key_id:
            return Subject(context)
        caller.require_flag(Flag.MANAGE_ROLES)
        return await _key(context, asked.api_key_id)
    if asked.role_id is None or (caller.kind == "user" and caller.role_id == asked.role_id):
        return Subject(context)
    caller.require_flag(Flag.MANAGE_ROLES)
    return await _role(context, asked.role_id)


async def _role(context: Context, role_id: str) -> Subject:
    document = await _asked(context, f"/internal/roles/{quote(role_id, safe='')}")
    identity = Identity(
        kind="user",
        id="",
        workspace_id=context.workspace_id,
        role_id=role_id,
        role_version=document["version"],
        flags=frozenset(flag for flag in Flag if document.get(flag)),
        permissions=ALL_PERMISSIONS,
        record_limit=context.identity.record_limit,
    )
    role = None if role_id == ADMIN_ROLE else Role.parse(document)
    return Subject(replace(context, identity=identity, role=role))


async def _key(context: Context, key_id: str) -> Subject:
    try:
        answer = await _asked(context, f"/internal/api-keys/{quote(key_id, safe='')}")
    except NotFound:
        # An auth_service of an older version does not have this route.
        raise ServiceUnavailable("Cannot look up the API key at the moment") from None
    if (found := answer["apiKey"]) is None:
        raise NotFound.of("API key", key_id)
    identity = Identity(
        kind="api_key",
        id=key_id,
        workspace_id=context.workspace_id,
        permissions=frozenset(map(Permission, found["permissions"])),
        record_limit=context.identity.record_limit,
    )
    ended = None if found["active"] else f"API key '{truncated(key_id)}' is deactivated"
    return Subject(replace(context, identity=identity, role=None), ended)


async def _asked(context: Context, path: str) -> dict[str, Any]:
    answer: dict[str, Any] = await context.app[AUTH_SERVICE].request("GET", path, call=context.call)
    return answer

"""Acts for an absent user or API key: with the identity that auth_service lends for a grant.

What somebody sets up here runs later, while they do not call. They grant it once, when they save it
(`grant`); each time it runs, their identity of that moment is asked for (`identity_of`), so that a
disabled user, a deactivated key or a changed role counts at once. ADR 84.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from aiohttp import web

from shared.errors import truncated
from shared.http import call_of
from shared.identity import Identity
from workflow_service.clients import AUTH, SIGNER

SubjectKind = Literal["user", "api_key"]

_NOUNS: Final = {"user": "user", "api_key": "API key"}
_REASONS: Final = {
    "deleted": "was deleted",
    "disabled": "is disabled",
    "noGrant": "has not granted it",
}


@dataclass(frozen=True, slots=True)
class Gone:
    """Nobody to act for; `reason` is a sentence for people."""

    reason: str


def subject_kind(identity: Identity) -> SubjectKind:
    """What kind of caller this is, to be stored beside its id."""
    return "user" if identity.kind == "user" else "api_key"


async def grant(request: web.Request) -> None:
    """Let this service act for the caller later. Repeating it changes nothing.

    Raises `ServiceUnavailable` while auth_service cannot be asked.
    """
    await request.app[AUTH].request(
        "POST", "/internal/grants", json={"service": "workflow_service"}, call=call_of(request)
    )


async def identity_of(
    app: web.Application, workspace_id: str, kind: SubjectKind, subject_id: str
) -> str | Gone:
    """A signed identity with the rights of this moment, valid for 60 seconds.

    Raises `ServiceUnavailable` or `UpstreamTimeout` while auth_service cannot be asked.
    """
    answer = await app[AUTH].request(
        "POST",
        "/internal/grants/identity",
        json={"workspaceId": workspace_id, "kind": kind, "id": subject_id},
        identity_token=app[SIGNER].sign_service(),
        reads=True,
    )
    token: str | None = answer.get("identity")
    if token is not None:
        return token
    reason = _REASONS[answer["absent"]]
    return Gone(f"The {_NOUNS[kind]} '{truncated(subject_id)}', for whom this runs, {reason}")

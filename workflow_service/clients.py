"""Calls to other services: roles, attributes, and states in use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from aiohttp import web

from shared.errors import NotFound, ServiceUnavailable, UpstreamTimeout, ValidationError
from shared.http import call_of, identity_of
from shared.http.client import Upstream
from shared.identity import IdentitySigner
from shared.process.waiting import KeyedSemaphore
from workflow_service.references.model import Reference
from workflow_service.retirements.model import Retirement

NAMES_ASKED_MAX: Final = 10_000
RETRY_AFTER_S: Final = 2
INSPECTED_AT_ONCE: Final = 500

AUTH: Final = web.AppKey("auth_service", Upstream)
RECORDS: Final = web.AppKey("records_service", Upstream)
REMOTE_CALL_SLOTS: Final = web.AppKey("remote_call_slots", KeyedSemaphore)
"""Slots for tasks that hold a connection while another service answers, or wait for those. When it
hangs they wait for as long as `shared.http.client` does, and the other connections serve everybody
else."""
APPLICATION_SLOTS: Final = web.AppKey("application_slots", KeyedSemaphore)
"""Slots for applications of change sets, which hold a connection for longer than those do."""
APPLY_S: Final = 60.0
"""How long an application may take: 10,000 operations take some ten seconds."""
SIGNER: Final = web.AppKey("signer", IdentitySigner)


@dataclass(frozen=True, slots=True)
class ResolvedNames:
    """Name -> id, of those names that an attribute has, when the model was at this version."""

    ids: Mapping[str, str]
    model_version: int = 0
    unreadable: Sequence[str] = ()
    """Those of the required names that the caller may not make completeness count."""
    unreadable_required: Sequence[str] = ()
    """Ids of attributes that completeness counts anyway and that the caller may not read."""
    required: Sequence[str] = ()
    """Ids of all attributes that completeness counts anyway; empty for an unrestricted caller."""


class Clients:
    """The other services, asked on behalf of one request: its caller, its deadline, its trace."""

    def __init__(self, request: web.Request, token: str) -> None:
        self._request = request
        self._token = token

    @property
    def caller_is_restricted(self) -> bool:
        """Whether a role says what the caller may see."""
        return not identity_of(self._request).unrestricted

    def slot(self) -> AbstractAsyncContextManager[None]:
        """A slot of the bulkhead, for a transaction during which other services are asked."""
        return self._request.app[REMOTE_CALL_SLOTS].of(REMOTE_CALL_SLOTS)

    def application_slot(self) -> AbstractAsyncContextManager[None]:
        """A slot for an application, of which others than applications do not wait."""
        return self._request.app[APPLICATION_SLOTS].of(APPLICATION_SLOTS)

    async def missing_roles(self, role_ids: Sequence[str]) -> list[str]:
        """Those of the roles that the workspace does not have; the other roles are claimed.

        A later deletion of a claimed role asks this service first.
        """
        answer = await self._request.app[AUTH].request(
            "POST",
            "/internal/roles/missing",
            json={"ids": role_ids},
            call=call_of(self._request),
            reads=True,
        )
        missing: list[str] = answer["missing"]
        return missing

    async def resolve(
        self, names: Sequence[str], required: Sequence[str], workflow_id: str | None = None
    ) -> ResolvedNames:
        """The id behind each name that an attribute has, and what of it the caller may not read.

        `required` are those of the names that a state requires. `workflow_id` is None for a new
        workflow.

        A workflow can be saved before its attributes are: `names/replacement.py` says what becomes
        of a name that nothing has yet. Raises `ValidationError` for more names than can be asked
        about, `ServiceUnavailable` while records_service cannot say what they mean.
        """
        restricted = self.caller_is_restricted
        if not names and not (restricted and workflow_id):
            return ResolvedNames({})
        if len(names) > NAMES_ASKED_MAX:
            raise ValidationError.at(
                "/states",
                f"Field 'states' names at most {NAMES_ASKED_MAX} different attributes in all"
                f" lists together, got {len(names)}",
            )
        try:
            answer = await self._request.app[RECORDS].request(
                "POST",
                "/internal/names",
                json={"attributes": names}
                | ({"toCount": required, "workflowId": workflow_id} if restricted else {}),
                call=call_of(self._request),
                reads=True,
            )
        except (ServiceUnavailable, UpstreamTimeout):
            # Nothing was stored, so it may be sent again, also where the question came too late.
            raise _unresolved() from None
        if restricted and "required" not in answer:
            # An older records_service cannot tell yet.
            raise _unresolved()
        return ResolvedNames(
            answer["attributes"],
            answer.get("modelVersion", 0),
            answer.get("unreadable", ()),
            answer.get("unreadableRequired", ()),
            answer.get("required", ()),
        )

    async def retire_states(self, workflow_id: str, state_ids: Sequence[str], version: int) -> None:
        """From now on no record enters these states; `Conflict` when one is in them.

        `version` is that of the definition which will lack them.
        """
        await self._request.app[RECORDS].request(
            "POST",
            f"/internal/workflows/{workflow_id}/retire-states",
            json={"states": state_ids, "version": version},
            call=call_of(self._request),
        )

    async def preview(self, workflow_id: str, definition: Mapping[str, Any]) -> Mapping[str, Any]:
        """What this definition would do to records, as records_service answers it."""
        try:
            answer: Mapping[str, Any] = await self._request.app[RECORDS].request(
                "POST",
                f"/internal/workflows/{workflow_id}/preview",
                json={"definition": definition},
                call=call_of(self._request),
                reads=True,
            )
        except NotFound:
            # An older records_service, which does not know the question.
            raise ServiceUnavailable(retry_after_s=RETRY_AFTER_S) from None
        return answer

    async def inspect(
        self,
        purpose: str,
        operations: Sequence[Mapping[str, Any]],
        *,
        with_values: bool = False,
        is_whole: bool = True,
    ) -> list[Mapping[str, Any]]:
        """What proposed operations are about for the caller, in the same order.

        Unless `is_whole`, only of the first, as many as have values that fit into one answer.
        `purpose` is `read`, `propose` or `decide`; for the latter two, raises the error of the
        first operation that the caller may not propose or decide.
        """
        inspected: list[Mapping[str, Any]] = []
        while len(inspected) < len(operations):
            some = operations[len(inspected) : len(inspected) + INSPECTED_AT_ONCE]
            answer = await self._request.app[RECORDS].request(
                "POST",
                "/internal/proposals/inspect",
                json={
                    "purpose": purpose,
                    "withValues": with_values,
                    "operations": orjson.dumps(some).decode(),
                },
                call=call_of(self._request),
                reads=True,
            )
            inspected += answer["operations"]
            if not is_whole:
                break
        return inspected

    async def apply(
        self,
        change_set_id: str,
        attempt: int,
        operations: Sequence[Mapping[str, Any]],
        *,
        force: bool,
    ) -> Mapping[str, Any]:
        """Apply operations, all and once; what each did (`results`), and for whom (`userId`).

        `results` is None for an attempt that was withdrawn.
        """
        answer: Mapping[str, Any] = await self._request.app[RECORDS].request(
            "POST",
            "/internal/proposals/apply",
            json={
                "changeSetId": change_set_id,
                "attempt": attempt,
                "force": force,
                "operations": orjson.dumps(operations).decode(),
            },
            call=call_of(self._request),
            timeout_s=APPLY_S,
        )
        return answer

    async def withdraw(self, change_set_id: str, attempt: int) -> Mapping[str, Any] | None:
        """See to it that this attempt is never made; as `apply` if it was made before."""
        answer: Mapping[str, Any] = await self._request.app[RECORDS].request(
            "POST",
            "/internal/proposals/withdraw",
            json={"changeSetId": change_set_id, "attempt": attempt},
            call=call_of(self._request),
        )
        return None if answer["results"] is None else answer

    async def feed_position(self, since: datetime | None = None) -> int:
        """The position of the change feed after which everything later than a moment comes.

        Without a moment: everything from now on. Raises `Gone` if the feed lacks some of it.
        """
        answer = await self._request.app[RECORDS].request(
            "POST",
            "/internal/changes/position",
            json={"since": since},
            call=call_of(self._request),
            reads=True,
        )
        position: int = answer["position"]
        return position

    async def binds(self, workflow_id: str) -> bool:
        """Whether a schema is bound to the workflow, including schema saves in progress."""
        answer = await self._request.app[RECORDS].request(
            "POST",
            f"/internal/workflows/{workflow_id}/binds",
            call=call_of(self._request),
            reads=True,
        )
        bound: bool = answer["bound"]
        return bound

    async def reinstate_states(self, workflow_id: str) -> None:
        """The definition did not change after all. Asked even when the request has no time left."""
        path = f"/internal/workflows/{workflow_id}/retired-states"
        await self._request.app[RECORDS].request("DELETE", path, identity_token=self._token)


def _unresolved() -> ServiceUnavailable:
    return ServiceUnavailable(
        "Cannot resolve the names in this workflow at the moment", retry_after_s=RETRY_AFTER_S
    )


async def stale_references(
    app: web.Application, references: Sequence[Reference]
) -> list[Reference]:
    """The references that no schema has any more, according to records_service."""
    if not references:
        return []
    asked = {
        (reference.workspace_id, reference.schema_id, reference.workflow_id): reference
        for reference in references
    }
    answer = await app[RECORDS].request(
        "POST",
        "/internal/workflow-references/check",
        json={
            "references": [
                {"workspaceId": workspace_id, "schemaId": schema_id, "workflowId": workflow_id}
                for workspace_id, schema_id, workflow_id in asked
            ]
        },
        identity_token=app[SIGNER].sign_service(),
        reads=True,
    )
    return [
        asked[stale["workspaceId"], stale["schemaId"], stale["workflowId"]]
        for stale in answer["stale"]
    ]


async def claim_retirements(app: web.Application, after_s: float, limit: int) -> list[Retirement]:
    """States retired long ago, of any workspace; no other caller gets the same ones for as long."""
    answer = await app[RECORDS].request(
        "POST",
        "/internal/retirements/claim",
        json={"afterSeconds": after_s, "limit": limit},
        identity_token=app[SIGNER].sign_service(),
    )
    return [
        Retirement(one["workspaceId"], one["workflowId"], one["version"], one["checkedAt"])
        for one in answer["retirements"]
    ]


async def reinstate_retirement(app: web.Application, retirement: Retirement) -> bool:
    """The revision is dead. False if its states were reinstated or retired again before."""
    answer = await app[RECORDS].request(
        "POST",
        "/internal/retirements/readmit",
        json={
            "workspaceId": retirement.workspace_id,
            "workflowId": retirement.workflow_id,
            "version": retirement.version,
            "checkedAt": retirement.checked_at,
        },
        identity_token=app[SIGNER].sign_service(),
    )
    readmitted: bool = answer["readmitted"]
    return readmitted

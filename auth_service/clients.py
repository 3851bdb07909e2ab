"""Calls to other services: what names mean, which workflows name a role, how many records exist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from aiohttp import web

from auth_service.permissions.model import (
    RoleNames,
)
from shared.errors import ServiceUnavailable, UpstreamTimeout, truncated
from shared.http import call_of
from shared.http.client import Upstream

NAMES_ASKED_MAX: Final = 10_000
RETRY_AFTER_S: Final = 2

RECORDS: Final = web.AppKey("records_service", Upstream)
WORKFLOWS: Final = web.AppKey("workflow_service", Upstream)


class Gates:
    """workflow_service, asked on behalf of one request."""

    def __init__(self, request: web.Request) -> None:
        self._request = request

    async def naming(self, role_id: str) -> Sequence[str]:
        """The ids of some workflows that name the role in a gate, including saves in progress.

        Raises `ServiceUnavailable` if workflow_service cannot be asked.
        """
        try:
            answer = await self._request.app[WORKFLOWS].request(
                "POST", f"/internal/roles/{role_id}/named", call=call_of(self._request), reads=True
            )
        except (ServiceUnavailable, UpstreamTimeout):
            raise ServiceUnavailable(
                f"Cannot check at the moment whether a workflow names role '{truncated(role_id)}'",
                retry_after_s=RETRY_AFTER_S,
            ) from None
        named_by: list[str] = answer["workflowIds"]
        return named_by


@dataclass(frozen=True, slots=True)
class ResolvedNames:
    """Name -> id, of those names that something has, when the model was at this version."""

    schemas: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    model_version: int = 0

    def unknown(self, names: RoleNames) -> RoleNames:
        """The names that are not ids."""
        return RoleNames(
            names.schemas - set(self.schemas.values()),
            names.attributes - set(self.attributes.values()),
        )


class NameResolver:
    """records_service, asked what names mean on behalf of one request."""

    def __init__(self, request: web.Request) -> None:
        self._request = request

    async def resolve(self, names: RoleNames) -> ResolvedNames:
        """The id behind each name. `ServiceUnavailable` if records_service cannot be asked."""
        schemas: dict[str, str] = {}
        attributes: dict[str, str] = {}
        versions: list[int] = []
        left_schemas, left_attributes = iter(sorted(names.schemas)), iter(sorted(names.attributes))
        while True:
            some_schemas = list(islice(left_schemas, NAMES_ASKED_MAX))
            some_attributes = list(islice(left_attributes, NAMES_ASKED_MAX))
            if not some_schemas and not some_attributes:
                return ResolvedNames(schemas, attributes, min(versions, default=0))
            answer = await self._ask(some_schemas, some_attributes)
            schemas |= answer["schemas"]
            attributes |= answer["attributes"]
            # The oldest version: an event arrives for everything that was renamed since.
            versions.append(answer.get("modelVersion", 0))

    async def _ask(self, schemas: Sequence[str], attributes: Sequence[str]) -> Mapping[str, Any]:
        try:
            answer: Mapping[str, Any] = await self._request.app[RECORDS].request(
                "POST",
                "/internal/names",
                json={"schemas": schemas, "attributes": attributes},
                call=call_of(self._request),
                reads=True,
            )
        except (ServiceUnavailable, UpstreamTimeout):
            # Nothing was stored, so it may be sent again, also where the question came too late.
            raise ServiceUnavailable(
                "Cannot resolve the names in this role at the moment",
                retry_after_s=RETRY_AFTER_S,
            ) from None
        return answer


async def count_records(request: web.Request) -> int:
    """How many records the caller's workspace has, from records_service.

    Raises `ServiceUnavailable` if it cannot be asked.
    """
    try:
        answer: Mapping[str, Any] = await request.app[RECORDS].request(
            "GET", "/internal/usage", call=call_of(request)
        )
    except (ServiceUnavailable, UpstreamTimeout):
        raise ServiceUnavailable(
            "Cannot count the records of the workspace at the moment", retry_after_s=RETRY_AFTER_S
        ) from None
    records: int = answer["records"]
    return records

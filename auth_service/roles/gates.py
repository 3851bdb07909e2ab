"""Asks workflow_service which workflows name a role in a gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from shared.errors import ServiceUnavailable, UpstreamTimeout, truncated
from shared.http import call_of
from shared.http.client import Upstream

RETRY_AFTER_S: Final = 2

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

"""The services that workflow_service asks, and a workflow to send."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from tests.kit.workspace import workflow_body


class OtherServices:
    """auth_service and records_service as these tests need them, and what they were asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.before_answering: list[Callable[[], Awaitable[None]]] = []
        self.roles = {"role-admin", "role-editor"}
        self.states_in_use: set[str] = set()
        self.attributes = {"sku": "attr-sku", "attr-cost": "attr-cost"}
        self.model_version = 7
        self.says_what_is_unreadable = True
        self.after_looking: list[Callable[[], Awaitable[None]]] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/internal/roles/missing", self._missing_roles)
        app.router.add_post("/internal/names", self._names)
        app.router.add_post("/internal/workflows/{id}/retire-states", self._retire)
        app.router.add_delete("/internal/workflows/{id}/retired-states", self._readmit)
        return app

    async def _heard(self, request: web.Request) -> Any:
        body = await request.json() if request.can_read_body else None
        assert request.headers["X-Sigma-Identity"]
        self.asked.append((request.method, request.path, body))
        return body

    async def _missing_roles(self, request: web.Request) -> web.Response:
        ids = (await self._heard(request))["ids"]
        for happens in self.before_answering:
            await happens()
        return web.json_response({"missing": [one for one in ids if one not in self.roles]})

    async def _names(self, request: web.Request) -> web.Response:
        body = await request.json()
        asked = body["attributes"]
        known = {name: self.attributes[name] for name in asked if name in self.attributes}
        answer = {"modelVersion": self.model_version, "schemas": {}, "attributes": known}
        if self.says_what_is_unreadable and "toCount" in body:
            answer |= {"unreadable": [], "required": [], "unreadableRequired": []}
        for happens in self.after_looking:
            await happens()
        return web.json_response(answer)

    async def _retire(self, request: web.Request) -> web.Response:
        for state in (await self._heard(request))["states"]:
            if state in self.states_in_use:
                message = f"State '{state}' is in use and cannot be deleted"
                return web.json_response({"error": "CONFLICT", "message": message}, status=409)
        return web.Response(status=204)

    async def _readmit(self, request: web.Request) -> web.Response:
        await self._heard(request)
        return web.Response(status=204)


def lifecycle(**changes: Any) -> dict[str, Any]:
    states = ("draft", "review", "published")
    steps = [("draft", "review", {"requiresCompleteness": 80}), ("review", "published")]
    return workflow_body("lifecycle", states, steps) | changes

"""Services that auth_service asks about roles, and roles to ask about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from shared.identity import Flag
from tests.kit.service import RunningService

WS = "ws-test"
FLAGS = [flag.value for flag in Flag]
TOKEN_KEYS = "test=" + "QUFB" * 11 + "QQ=="

NOBODYS_FLAGS = dict.fromkeys(FLAGS, False)

Start = Callable[..., Awaitable[RunningService]]


class Records:
    """records_service as these tests need it: one schema with three attributes."""

    def __init__(self) -> None:
        self.attributes = {"attr-x": "x", "attr-y": "y", "attr-z": "z"}
        self.schemas = {"schema-a": "a", "schema-apparel": "apparel"}
        self.former = {"attr-z": ["once-z"]}
        self.model_version = 7
        self.away = False
        self.before_answering: list[Callable[[], Awaitable[Any]]] = []
        self.after_looking: list[Callable[[], Awaitable[Any]]] = []
        self.asked: list[tuple[str, str | None]] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/internal/names", self._names)
        app.router.add_get("/internal/schemas/{id}/names", self._attributes)
        return app

    async def _names(self, request: web.Request) -> web.StreamResponse:
        if self.away:
            message = "Service unavailable"
            return web.json_response(
                {"error": "SERVICE_UNAVAILABLE", "message": message}, status=503
            )
        asked = await request.json()
        for happens in self.before_answering:
            await happens()

        def ids(names: list[str], known: dict[str, str]) -> dict[str, str]:
            by_name = {alias: one for one, alias in known.items()} | {one: one for one in known}
            return {name: by_name[name] for name in names if name in by_name}

        answer = {
            "modelVersion": self.model_version,
            "schemas": ids(asked["schemas"], self.schemas),
            "attributes": ids(asked["attributes"], self.attributes),
        }
        for happens in self.after_looking:
            await happens()
        return web.json_response(answer)

    async def _attributes(self, request: web.Request) -> web.StreamResponse:
        schema_id = request.match_info["id"]
        self.asked.append((schema_id, request.headers.get("X-Sigma-Identity")))
        if schema_id not in self.schemas:
            message = f"Schema '{schema_id}' not found"
            return web.json_response({"error": "NOT_FOUND", "message": message}, status=404)
        return web.json_response(
            {
                "id": schema_id,
                "aliases": [self.schemas[schema_id]],
                "attributes": [
                    {"id": one, "alias": alias, "aliases": [alias, *self.former.get(one, [])]}
                    for one, alias in self.attributes.items()
                ],
            }
        )


class Workflows:
    """workflow_service as these tests need it: which workflows name a role."""

    def __init__(self) -> None:
        self.naming: dict[str, list[str]] = {}
        self.away = False
        self.before_answering: list[Callable[[], Awaitable[Any]]] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/internal/roles/{id}/named", self._named)
        return app

    async def _named(self, request: web.Request) -> web.StreamResponse:
        if self.away:
            told = {"error": "SERVICE_UNAVAILABLE", "message": "Service unavailable"}
            return web.json_response(told, status=503)
        named_by = self.naming.get(request.match_info["id"], [])
        for happens in self.before_answering:
            await happens()
        return web.json_response({"workflowIds": named_by})


def full_role(**fields: Any) -> dict[str, Any]:
    """A role as it is answered, but for the two times."""
    return {
        "id": "role-editor",
        "name": "Editor",
        "description": None,
        **NOBODYS_FLAGS,
        "schemaPermissions": [],
        "catalogPermissions": [],
        **fields,
    }

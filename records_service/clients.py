"""Clients of the other services."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from shared.http.client import Upstream

AUTH_SERVICE: Final = web.AppKey("auth_service", Upstream)
WORKFLOW_SERVICE: Final = web.AppKey("workflow_service", Upstream)

"""Answers that are whole also for callers who may not read.

They say what became of rows, as the answers to single writes would have, and nothing of records.
The edge takes the body of a `web.Response` away from such callers, so these are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from shared.http.responses import JSON, to_json


async def whole_answer(
    request: web.Request, value: Any, *, status: int = 200, headers: Mapping[Any, str] | None = None
) -> web.StreamResponse:
    """The value as JSON."""
    body = to_json(value)
    response = web.StreamResponse(status=status, headers=headers)
    response.content_type = JSON
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body)
    return response

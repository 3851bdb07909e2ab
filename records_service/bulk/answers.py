"""Answers of bulk calls: as JSON, or one result a line; long ones are sent while the call runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from aiohttp import hdrs, web

from records_service.bulk.model import BulkOutcome, Result
from records_service.context import Context
from shared.http import names_media_type

NDJSON: Final = "application/x-ndjson"
_WHOLE_BYTES_MAX: Final = 64 << 10
_PART: Final = 1_000
"""How many results are written in one piece, in a thread if they are not few."""
_FEW: Final = 50
_STATUS: Final = {
    BulkOutcome.CREATED: 201,
    BulkOutcome.UPDATED: 200,
    BulkOutcome.UNCHANGED: 200,
    BulkOutcome.SKIPPED: 200,
    BulkOutcome.DELETED: 204,
}


class Answer:
    """The answer of one call. A short one is sent as a whole, a longer one part by part.

    Never a `web.Response`: the edge takes the body of those away from callers who may not read. A
    bulk answer tells them what single writes tell them as well.
    """

    def __init__(
        self, request: web.Request, context: Context, headers: Mapping[str, str] | None = None
    ) -> None:
        self._request = request
        self._context = context
        self._headers = headers or {}
        self._is_lines = names_media_type(request.headers.get(hdrs.ACCEPT), NDJSON)
        self._buffered = bytearray(b"" if self._is_lines else b'{"results":[')
        self._counts: Counter[BulkOutcome] = Counter()
        self._has_results = False
        self._response: web.StreamResponse | None = None

    async def add(self, results: Sequence[Result]) -> None:
        """Add results, and send what has come together once it is much."""
        for start in range(0, len(results), _PART):
            part = results[start : start + _PART]
            counts, written = await self._context.run(
                len(part) > _FEW, _written, part, is_lines=self._is_lines
            )
            self._counts += counts
            if self._has_results and not self._is_lines:
                self._buffered += b","
            self._buffered += written
            self._has_results = True
            if len(self._buffered) > _WHOLE_BYTES_MAX:
                await self._send()

    async def end(self) -> web.StreamResponse:
        """The answer, with the counts."""
        counts = {outcome.value: self._counts[outcome] for outcome in BulkOutcome}
        if self._is_lines:
            self._buffered += orjson.dumps({"summary": counts}) + b"\n"
        else:
            self._buffered += b"]," + orjson.dumps(counts)[1:]
        response = await self._send(is_whole=True)
        await response.write_eof()
        return response

    async def _send(self, *, is_whole: bool = False) -> web.StreamResponse:
        response = self._response
        if response is None:
            kind = NDJSON if self._is_lines else "application/json"
            response = self._response = web.StreamResponse(
                headers={**self._headers, hdrs.CONTENT_TYPE: kind}
            )
            if is_whole:
                response.content_length = len(self._buffered)
            await response.prepare(self._request)
        await response.write(bytes(self._buffered))
        self._buffered.clear()
        return response


def _written(results: Sequence[Result], *, is_lines: bool) -> tuple[Counter[BulkOutcome], bytes]:
    """How often each outcome is there, and the results as they are sent."""
    counts = Counter(result.outcome for result in results)
    if is_lines:
        return counts, b"".join(orjson.dumps(_shown(one)) + b"\n" for one in results)
    return counts, orjson.dumps([_shown(one) for one in results])[1:-1]


def _shown(result: Result) -> dict[str, Any]:
    error = result.error
    shown = {
        "index": result.index,
        "outcome": result.outcome.value,
        "status": _STATUS[result.outcome] if error is None else error.status,
        "id": result.id,
        "version": result.version,
    }
    if error is not None:
        shown["error"] = error.code
        shown["message"] = error.message
        shown["pointer"] = error.violations[0].pointer if error.violations else ""
    return shown

"""Remembers how records were shown, so that a list need not be written anew each time.

A rendering belongs to one version of a record and one `Access`, and an `Access` to one version of
the model, one version of a role and one state: nothing here can be out of date. Records of a schema
with relations are written anew each time, because a related record may be gone by now.
"""

from __future__ import annotations

from collections import OrderedDict

import orjson
from aiohttp import web

from records_service.records.relations import Related
from records_service.records.rules import Access, RecordRules
from records_service.records.store import Listed
from records_service.records.view import shown
from shared.web import to_json

REMEMBERED_BYTES_MAX = 32 << 20

_Key = tuple[Access, str, str, int, str]


class Renderings:
    """The renderings of this process; the least recently used go first."""

    def __init__(self) -> None:
        self._known: OrderedDict[_Key, bytes] = OrderedDict()
        self._bytes = 0

    def of(self, listed: Listed, rules: RecordRules, access: Access) -> orjson.Fragment:
        """The record's JSON, for a schema without relations."""
        key = (access, listed.workspace_id, listed.id, listed.version, listed.written_by)
        known = self._known.get(key)
        if known is None:
            known = to_json(shown(listed.record(), rules, access, Related()))
            self._remember(key, known)
        else:
            self._known.move_to_end(key)
        return orjson.Fragment(known)

    def _remember(self, key: _Key, rendering: bytes) -> None:
        self._known[key] = rendering
        self._bytes += len(rendering)
        while self._bytes > REMEMBERED_BYTES_MAX:
            _, oldest = self._known.popitem(last=False)
            self._bytes -= len(oldest)


RENDERINGS = web.AppKey("renderings", Renderings)

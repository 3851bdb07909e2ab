"""Cache of rendered records, so that lists do not render each record again.

A rendering belongs to one version of a record and one `Access`, and an `Access` to one version of
the model, one version of a role and one state: nothing here can be out of date. Records of a schema
with relations are rendered each time, because a related record may have been deleted.

What is rendered of a large page is rendered in a thread: parsing 16 MB of many small values would
hold the event loop for half a second.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from aiohttp import web

from records_service.blueprint.compiled_schema import Access, CompiledSchema
from records_service.context import Context
from records_service.records.projection import Projection
from records_service.records.relations import find_related
from records_service.records.rendering import render
from records_service.records.store import Listed
from records_service.values.relations import Related
from records_service.writes.model import Record
from shared.http import to_json

REMEMBERED_BYTES_MAX: Final = 32 << 20
INLINE_BYTES_MAX: Final = 256 << 10
"""Of documents: parsed in a few milliseconds."""

_Key = tuple[Access, str, str, int, str, Projection | None]


class ListedForCaller(NamedTuple):
    """A record of a list, its compiled schema, and what the caller may see of it."""

    listed: Listed
    schema: CompiledSchema
    access: Access


class RenderCache:
    """The renderings of this process; the least recently used are dropped first.

    Not a `SizedCache`, which hashes the key three times: 91 us instead of 39 for a page of 500.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[_Key, bytes] = OrderedDict()
        self._bytes = 0

    def find(self, one: ListedForCaller, projection: Projection | None) -> bytes | None:
        """The record's JSON, if it is known; never where its schema has relations."""
        if one.schema.relations:
            return None
        key = _key(one, projection)
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
        return known

    def remember(self, one: ListedForCaller, projection: Projection | None, json: bytes) -> None:
        """Keep it for the next list, unless its schema has relations."""
        if one.schema.relations:
            return
        key = _key(one, projection)
        self._bytes += len(json) - len(self._known.pop(key, b""))
        self._known[key] = json
        while self._bytes > REMEMBERED_BYTES_MAX:
            _, oldest = self._known.popitem(last=False)
            self._bytes -= len(oldest)


async def render_all(
    context: Context, records: Sequence[ListedForCaller], projection: Projection | None = None
) -> list[bytes]:
    """The JSON of each of these records of the workspace."""
    size = sum(len(one.listed.row["document"]) for one in records)
    is_large = size > INLINE_BYTES_MAX
    naming = [one for one in records if one.schema.relations]
    parsed: Mapping[str, Record] = {}
    related = Related()
    if naming:
        parsed = await context.run(is_large, _parsed, naming)
        named = [(parsed[one.listed.id].values, one.schema) for one in naming]
        related = await find_related(context, named, is_large=is_large)
    return await context.run(is_large, _rendered, records, parsed, related, projection)


RENDER_CACHE = web.AppKey("render_cache", RenderCache)


def _parsed(records: Sequence[ListedForCaller]) -> dict[str, Record]:
    return {one.listed.id: one.listed.record() for one in records}


def _rendered(
    records: Sequence[ListedForCaller],
    parsed: Mapping[str, Record],
    related: Related,
    projection: Projection | None,
) -> list[bytes]:
    return [
        to_json(
            render(
                parsed.get(one.listed.id) or one.listed.record(),
                one.schema,
                one.access,
                related,
                projection,
            )
        )
        for one in records
    ]


def _key(one: ListedForCaller, projection: Projection | None) -> _Key:
    listed = one.listed
    return (
        one.access,
        listed.workspace_id,
        listed.id,
        listed.version,
        listed.written_by,
        projection,
    )

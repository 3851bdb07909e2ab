"""Cache of rendered records, so that lists do not render each record again.

A rendering belongs to one version of a record and one `Access`, and an `Access` to one version of
the model, one version of a role and one state: with another one it is made again. It then takes the
place of the former one, so that changes of records, roles and the model do not add up here. Records
of a schema with relations are rendered each time, because a related record may have been deleted.

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

AROUND_BYTES: Final = 600
"""What the objects around a rendering take: its key, its place in the cache."""

_Key = tuple[str, str, str | None, Projection | None]


class Rendering(NamedTuple):
    """A record's JSON, and what it was made of."""

    access: Access
    version: int
    written_by: str
    json: bytes

    @property
    def size(self) -> int:
        """Its bytes, with what is around them."""
        return len(self.json) + AROUND_BYTES


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
        self._known: OrderedDict[_Key, Rendering] = OrderedDict()
        self._bytes = 0

    def find(
        self, one: ListedForCaller, role_id: str | None, projection: Projection | None
    ) -> bytes | None:
        """The record's JSON, if it is known; never where its schema has relations."""
        if one.schema.relations:
            return None
        listed = one.listed
        key = (listed.workspace_id, listed.id, role_id, projection)
        known = self._known.get(key)
        if (
            known is None
            or known.access is not one.access
            or known.version != listed.version
            or known.written_by != listed.written_by
        ):
            return None
        self._known.move_to_end(key)
        return known.json

    def remember(
        self, one: ListedForCaller, role_id: str | None, projection: Projection | None, json: bytes
    ) -> None:
        """Keep it for the next list, unless its schema has relations."""
        if one.schema.relations:
            return
        listed = one.listed
        key = (listed.workspace_id, listed.id, role_id, projection)
        former = self._known.pop(key, None)
        if former is not None:
            self._bytes -= former.size
        self._known[key] = new = Rendering(one.access, listed.version, listed.written_by, json)
        self._bytes += new.size
        while self._bytes > REMEMBERED_BYTES_MAX:
            _, oldest = self._known.popitem(last=False)
            self._bytes -= oldest.size


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

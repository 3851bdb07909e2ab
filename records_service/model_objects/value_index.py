"""What the search index can tell of the values of records, for questions that stand below it.

`records_service/search_index` answers them; a test of this room, or a workspace that has no index
yet, does without, and records are read (`searching`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol, TypeAlias

from aiohttp import web

from records_service.model_objects.search_store import Hit
from shared.database import Conn

Paths: TypeAlias = Mapping[str, Sequence[tuple[str, ...]]]
"""Attribute -> the fields, from the outside, that lead to each place in its values."""


class ValueIndex(Protocol):
    """Knows the values of records whose schemas have the attribute, and nothing of variants."""

    async def knows(
        self, conn: Conn, workspace_id: str, attribute_ids: Collection[str]
    ) -> frozenset[str]:
        """Those of the attributes that are in the index and whose build has ended."""
        ...

    async def chosen(
        self, conn: Conn, workspace_id: str, places: Paths, values: Collection[str]
    ) -> Hit | None:
        """One of these options, or of `true` and `false`, that a record has at one of the places.

        All attributes are ones that it `knows`.
        """
        ...

    async def has_numbers(self, conn: Conn, workspace_id: str, attribute_id: str) -> bool:
        """Whether a record has a value of this attribute of numbers or times, which it `knows`."""
        ...


VALUE_INDEX: Final = web.AppKey("value_index", ValueIndex)

"""Whether a value is in use: the questions of `model_objects/value_index.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final

from records_service.attributes import store as attributes
from records_service.model_objects.search_store import Hit
from records_service.model_objects.value_index import Paths
from records_service.search_index.terms import BUCKETS, key_of, value_term
from shared.database import Conn

TERMS_AT_ONCE: Final = 500
"""In each bucket. The index is asked for each of them, whether it has it or not."""
_IN_BUCKET: Final = (
    "(SELECT jsonb_build_array(record_id, terms) FROM search_records"
    " WHERE workspace_id = $1 AND terms && ${}::bigint[] LIMIT 1)"
)
_IN_ANY_BUCKET: Final = ", ".join(map(_IN_BUCKET.format, range(2, BUCKETS + 2)))
"""Each is asked only if none before it has found anything."""


class InUse:
    """Asks the index; holds nothing."""

    async def knows(
        self, conn: Conn, workspace_id: str, attribute_ids: Collection[str]
    ) -> frozenset[str]:
        """As `ValueIndex`."""
        return await attributes.in_index(conn, workspace_id, attribute_ids)

    async def chosen(
        self, conn: Conn, workspace_id: str, places: Paths, values: Collection[str]
    ) -> Hit | None:
        """As `ValueIndex`."""
        terms = (
            (value_term(workspace_id, attribute_id, path, value), value)
            for attribute_id, paths in places.items()
            for path in paths
            for value in values
        )
        while some := dict(islice(terms, TERMS_AT_ONCE)):
            found = await _first_term(conn, workspace_id, list(some))
            if found is not None:
                term, record_id = found
                return Hit("records", record_id, some[term])
        return None

    async def has_numbers(self, conn: Conn, workspace_id: str, attribute_id: str) -> bool:
        """As `ValueIndex`."""
        async with _planned(conn, {"enable_seqscan": "off"}):
            found: bool = await conn.fetchval(
                """
                SELECT EXISTS (SELECT FROM search_numbers
                                WHERE workspace_id = $1 AND attribute_key = $2)
                """,
                workspace_id,
                key_of(attribute_id),
            )
        return found


async def _first_term(
    conn: Conn, workspace_id: str, terms: Sequence[int]
) -> tuple[int, str] | None:
    """One of these terms that a record has, as in the first bucket, and the record.

    Bucket by bucket, and only until one is found: for a frequent term the index would first read
    a list of all records that have it.
    """
    in_buckets = [[term | bucket for term in terms] for bucket in range(BUCKETS)]
    scans = ("enable_seqscan", "enable_indexscan", "enable_indexonlyscan")
    async with _planned(conn, dict.fromkeys(scans, "off")):
        found: tuple[str, list[int]] | None = await conn.fetchval(
            f"SELECT coalesce({_IN_ANY_BUCKET})",
            workspace_id,
            *in_buckets,
        )
    if found is None:
        return None
    record_id, held = found
    asked = set(terms)
    return next(term & -BUCKETS for term in held if term & -BUCKETS in asked), record_id


@asynccontextmanager
async def _planned(conn: Conn, settings: Mapping[str, str]) -> AsyncIterator[None]:
    """Statements are planned for their arguments, and without some kinds of scans.

    Where PostgreSQL takes a value for a frequent one, it expects to meet it soon in any order, and
    reads the whole table if there is none.
    """
    chosen = {"plan_cache_mode": "force_custom_plan", **settings}
    async with conn.transaction():
        before = await _set(conn, chosen)
        yield
        await _set(conn, before)


async def _set(conn: Conn, settings: Mapping[str, str]) -> dict[str, str]:
    """Set these for the transaction; what they were before."""
    rows = await conn.fetch(
        """
        WITH known AS MATERIALIZED (
            SELECT n.name, n.value, current_setting(n.name) AS before
              FROM unnest($1::text[], $2::text[]) AS n (name, value)
        )
        SELECT name, before, set_config(name, value, true) FROM known
        """,
        list(settings),
        list(settings.values()),
    )
    return {row["name"]: row["before"] for row in rows}

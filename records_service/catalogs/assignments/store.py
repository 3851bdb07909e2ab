"""The SQL of assignments.

Whoever assigns or unassigns locks the category first and then the rows of records in the order of
their ids; deletions of records and of categories take them in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, NamedTuple

from records_service.catalogs.categories.model import CATEGORY
from records_service.catalogs.categories.store import BRANCH
from records_service.records import store as records
from records_service.records.store import Filters, Listed
from shared.database import Conn
from shared.database.paging import COUNTED_MAX, Part, Place, Total
from shared.errors import NotFound
from shared.events import Event
from shared.messaging import outbox


class LockedCategory(NamedTuple):
    """A category whose assignments nobody else changes until commit."""

    id: str
    catalog_id: str
    assignments_version: int


async def lock_category(conn: Conn, workspace_id: str, category_id: str) -> LockedCategory:
    """Lock a category until commit, or `NotFound`.

    The foreign keys of what follows are checked by plans for the tables as they are now, and not
    by those of a session that began when they were nearly empty: such a plan reads a whole table
    for each row, until the table is analysed (7.5 instead of 0.6 s for 10,000 assignments).
    """
    row = await conn.fetchrow(
        """
        SELECT id, catalog_id, assignments_version,
               set_config('plan_cache_mode', 'force_custom_plan', true)
          FROM categories
         WHERE workspace_id = $1 AND id = $2 AND NOT is_deleted
           FOR NO KEY UPDATE
        """,
        workspace_id,
        category_id,
    )
    if row is None:
        raise NotFound.of(CATEGORY.title, category_id)
    return LockedCategory(row["id"], row["catalog_id"], row["assignments_version"])


async def lock_records(
    conn: Conn, workspace_id: str, record_ids: Iterable[str]
) -> dict[str, datetime]:
    """Id -> time of creation of those that exist. They are not deleted before commit."""
    rows = await conn.fetch(
        """
        SELECT id, created_at FROM records
         WHERE workspace_id = $1 AND id = ANY($2::text[])
         ORDER BY id
           FOR KEY SHARE
        """,
        workspace_id,
        list(record_ids),
    )
    return {row["id"]: row["created_at"] for row in rows}


async def lock_assigned(
    conn: Conn, workspace_id: str, category_id: str, record_ids: Iterable[str]
) -> list[str]:
    """Those of the records that are in the category, in order; their assignments are locked."""
    rows = await conn.fetch(
        """
        SELECT record_id FROM category_assignments
         WHERE workspace_id = $1 AND category_id = $2 AND record_id = ANY($3::text[])
         ORDER BY record_id
           FOR UPDATE
        """,
        workspace_id,
        category_id,
        list(record_ids),
    )
    return [row["record_id"] for row in rows]


async def insert(
    conn: Conn,
    workspace_id: str,
    category: LockedCategory,
    records: Sequence[tuple[str, datetime]],
    events: Sequence[Event],
) -> None:
    """Store new assignments with their events, whose last version is the category's from now on."""
    await conn.execute(
        """
        WITH counted AS (
            UPDATE categories SET assignments_version = $3 WHERE workspace_id = $1 AND id = $2
        ), assigned AS (
            INSERT INTO category_assignments (workspace_id, record_id, category_id, catalog_id,
                                              record_created_at)
            SELECT $1, new.record_id, $2, $4, new.created_at
              FROM unnest($5::text[], $6::timestamptz[]) AS new (record_id, created_at)
            RETURNING 1
        )
        INSERT INTO outbox (workspace_id, type, subject, event_id, document, version)
        SELECT $1, events.*
          FROM unnest($7::text[], $8::text[], $9::text[], $10::json[], $11::bigint[]) AS events
        RETURNING 1
        """,
        workspace_id,
        category.id,
        events[-1].version,
        category.catalog_id,
        [record_id for record_id, _ in records],
        [created_at for _, created_at in records],
        *outbox.arrays(events),
    )


async def delete(
    conn: Conn,
    workspace_id: str,
    category: LockedCategory,
    record_ids: Sequence[str],
    events: Sequence[Event],
) -> None:
    """Remove locked assignments, with their events."""
    await conn.execute(
        """
        WITH counted AS (
            UPDATE categories SET assignments_version = $3 WHERE workspace_id = $1 AND id = $2
        ), unassigned AS (
            DELETE FROM category_assignments
             WHERE workspace_id = $1 AND category_id = $2 AND record_id = ANY($4::text[])
        )
        INSERT INTO outbox (workspace_id, type, subject, event_id, document, version)
        SELECT $1, events.*
          FROM unnest($5::text[], $6::text[], $7::text[], $8::json[], $9::bigint[]) AS events
        RETURNING 1
        """,
        workspace_id,
        category.id,
        events[-1].version,
        list(record_ids),
        *outbox.arrays(events),
    )


@dataclass(frozen=True, slots=True)
class CategoryPage:
    """Records of a category, how many there are, and the position of the last one."""

    part: Part[Listed]
    total: Total | None
    last: Sequence[Any]
    model_version: int


async def page(
    conn: Conn,
    workspace_id: str,
    *,
    category_id: str,
    include_subcategories: bool,
    place: Place,
) -> CategoryPage:
    """Records of a category in the order of their creation, each once.

    Raises `ValidationError` for a page of too many bytes whose limit was asked for; it is shorter
    where the limit is the default.
    """
    arguments: list[Any] = [workspace_id, category_id]
    if include_subcategories:
        source = f"(SELECT DISTINCT record_id {_IN_THE_BRANCH}) AS found"
        count = _COUNT_OF_A_BRANCH if place.counts else "SELECT NULL::bigint"
        wanted = _wanted_of_a_branch(place, arguments)
    else:
        source = "category_assignments WHERE workspace_id = $1 AND category_id = $2"
        count = place.count(source)
        wanted = _wanted_of_a_category(place, arguments)
    rows = await conn.fetch(
        f"""
        WITH {wanted}
        SELECT wanted.record_created_at, wanted.record_id, head.counted
          FROM (SELECT ({count}) AS counted) AS head
          LEFT JOIN wanted ON true
         ORDER BY wanted.record_created_at, wanted.record_id
        """,  # noqa: S608 - constants and numbers of arguments
        *arguments,
    )
    keys = [tuple(row)[:2] for row in rows if row["record_id"] is not None]
    here = keys[: place.limit]
    listing = await records.page(
        conn,
        workspace_id,
        filters=Filters(ids=tuple(record_id for _, record_id in here)),
        place=replace(place, offset=0, after=None, counts=False),
    )
    # The bytes of the documents may end the page, and a record may be gone by now.
    found, is_cut = listing.part, listing.part.has_more
    part = Part(found.rows, found.limit, is_cut or len(keys) > len(here))
    return CategoryPage(
        part,
        await place.total(conn, part, rows[0]["counted"], source, arguments),
        found.rows[-1].position(place.order) if is_cut else here[-1] if here else (),
        listing.model_version,
    )


_IN_THE_BRANCH: Final = f"""
    FROM ({BRANCH.format(category_id="$2")}) AS branch
    CROSS JOIN LATERAL (
         SELECT record_id FROM category_assignments
          WHERE workspace_id = $1 AND category_id = branch.id
    ) AS assigned
"""  # noqa: S608
_ASSIGNMENTS_COUNTED_MAX: Final = 2 * COUNTED_MAX
# A record that is in several categories of the branch counts once. Twice as many assignments as
# are told exactly are enough to say that there are more, unless most records are in several.
_COUNT_OF_A_BRANCH: Final = f"""
    SELECT CASE WHEN told.assignments <= {_ASSIGNMENTS_COUNTED_MAX} OR told.records > {COUNTED_MAX}
                THEN told.records
                ELSE (SELECT count(*)
                        FROM (SELECT DISTINCT record_id {_IN_THE_BRANCH}
                               LIMIT {COUNTED_MAX + 1}) AS found) END
      FROM (SELECT count(*) AS records, sum(n) AS assignments
              FROM (SELECT record_id, count(*) AS n
                      FROM (SELECT record_id {_IN_THE_BRANCH}
                             LIMIT {_ASSIGNMENTS_COUNTED_MAX + 1}) AS first
                     GROUP BY record_id) AS counted) AS told
"""  # noqa: S608


def _after(place: Place, arguments: list[Any]) -> str:
    """SQL: the assignment is of a record after the position of the page."""
    if place.after is None:
        return ""
    arguments += place.after
    names = f"${len(arguments) - 1}, ${len(arguments)}"
    return f"AND (record_created_at, record_id) > ({names})"


def _wanted_of_a_category(place: Place, arguments: list[Any]) -> str:
    """SQL: a CTE `wanted` with the records of the page and one more, from one range of an index."""
    after = _after(place, arguments)
    arguments += (place.offset if place.after is None else 0, place.rows)
    return f"""wanted AS MATERIALIZED (
            SELECT record_created_at, record_id FROM category_assignments
             WHERE workspace_id = $1 AND category_id = $2 {after}
             ORDER BY record_created_at, record_id
            OFFSET ${len(arguments) - 1}::bigint LIMIT ${len(arguments)}::bigint
        )"""  # noqa: S608


LARGE_BRANCH: Final = 500
"""Categories. Of a larger branch, the records of the page are probably among the next of the whole
catalog."""
_NEXT_OF_THE_CATALOG: Final = 20
"""For each record of the page. So few are read in vain where they are not enough."""


def _wanted_of_a_branch(place: Place, arguments: list[Any]) -> str:
    """SQL: the same for all categories of a branch, each record once.

    Each category is a range of an index, in order. Of each only the first record after the
    position is looked up; the records of the page are in the categories whose first record is among
    the first ones. So a page reads as many assignments as the branch has categories, and some
    thousands more at most, however many there are. For a large branch that is tried only after the
    next assignments of the whole catalog did not fill the page (docs/adr/0047).
    """
    after = _after(place, arguments)
    arguments += (place.offset if place.after is None else 0, place.rows)
    offset, rows = f"${len(arguments) - 1}::bigint", f"${len(arguments)}::bigint"
    first = f"""
        SELECT record_created_at, record_id FROM category_assignments
         WHERE workspace_id = $1 AND category_id = {{category}} {after}
         ORDER BY record_created_at, record_id
         LIMIT {{limit}}
    """  # noqa: S608
    return f"""branch AS MATERIALIZED (
            {BRANCH.format(category_id="$2")}
        ), next AS MATERIALIZED (
            SELECT record_created_at, record_id, category_id FROM category_assignments
             WHERE workspace_id = $1
               AND catalog_id = (SELECT catalog_id FROM categories
                                  WHERE workspace_id = $1 AND id = $2)
               AND (SELECT count(*) FROM branch) > {LARGE_BRANCH} {after}
             ORDER BY record_created_at, record_id
             LIMIT ({offset} + {rows}) * {_NEXT_OF_THE_CATALOG}
        ), near AS MATERIALIZED (
            SELECT DISTINCT next.record_created_at, next.record_id
              FROM next
              JOIN branch ON branch.id = next.category_id
        ), is_far AS MATERIALIZED (
            SELECT count(*) < {offset} + {rows} AS yes FROM near
        ), head AS MATERIALIZED (
            SELECT branch.id, first.record_created_at, first.record_id
              FROM branch
             CROSS JOIN LATERAL ({first.format(category="branch.id", limit="1")}) AS first
             WHERE (SELECT yes FROM is_far)
        ), last AS MATERIALIZED (
            SELECT record_created_at, record_id
              FROM (SELECT DISTINCT record_created_at, record_id FROM head) AS heads
             ORDER BY record_created_at, record_id
            OFFSET {offset} + {rows} - 1 LIMIT 1
        ), chosen AS MATERIALIZED (
            SELECT id FROM head
             WHERE NOT EXISTS (SELECT FROM last)
                OR (record_created_at, record_id)
                   <= (SELECT record_created_at, record_id FROM last)
        ), wanted AS MATERIALIZED (
            SELECT record_created_at, record_id FROM near WHERE NOT (SELECT yes FROM is_far)
             UNION
            SELECT found.record_created_at, found.record_id
              FROM chosen
             CROSS JOIN LATERAL (
                   {first.format(category="chosen.id", limit=f"{offset} + {rows}")}
             ) AS found
             ORDER BY record_created_at, record_id
            OFFSET {offset} LIMIT {rows}
        )"""  # noqa: S608

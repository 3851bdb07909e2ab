"""SQL: what uses a dimension or one of its segments."""

from __future__ import annotations

from collections.abc import Sequence

from records_service.model_objects.search_store import Hit, Search
from records_service.model_objects.searching import Searcher
from records_service.permissions.store import places_of_values
from records_service.value_uses import store as value_uses
from records_service.value_uses.asking import first_used, still_held
from shared.database import Conn


async def varying(conn: Conn, workspace_id: str, dimension_id: str) -> list[str]:
    """The attributes that vary by this dimension."""
    rows = await conn.fetch(
        "SELECT id FROM attributes WHERE workspace_id = $1 AND body->'dimensionIds' ? $2",
        workspace_id,
        dimension_id,
    )
    return [row["id"] for row in rows]


async def used_segment(
    conn: Conn,
    workspace_id: str,
    dimension_id: str,
    segment_ids: Sequence[str],
    searcher: Searcher,
) -> Hit | None:
    """One of these segments that a stored value's scope names, with who has the value."""
    if not segment_ids:
        return None
    attribute_ids = await varying(conn, workspace_id, dimension_id)
    marks = await value_uses.marks(conn, workspace_id, attribute_ids, dimension_id, segment_ids)
    if marks is not None:
        attribute_ids = sorted(marks.all_attribute_ids)
        if not attribute_ids:
            return None
    search = Search(
        """
        SELECT scope ->> $2 AS found
          FROM unnest($3::text[]) AS varying (id)
         CROSS JOIN LATERAL jsonb_path_query(r.values -> varying.id, '$[*].scope') AS scope
         WHERE scope ->> $2 = ANY($4::text[])
        """,
        (dimension_id, attribute_ids, list(segment_ids)),
    )
    if marks is not None:
        held = await still_held(conn, workspace_id, marks, search)
        if held is not None:
            return held
    places = await places_of_values(conn, workspace_id, attribute_ids, marks=marks)
    return await first_used(
        conn, workspace_id, searcher, places, search, marks, dimension_id=dimension_id
    )

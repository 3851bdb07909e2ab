"""The marks of values of a workspace, and what they must be."""

from __future__ import annotations

from tests.kit.records_workspace import RecordsWorkspace

_STORED = """
    SELECT DISTINCT in_variants, value.key AS attribute_id, place.dimension_id, place.segment_id
      FROM (SELECT false AS in_variants, values FROM records WHERE workspace_id = $1
             UNION ALL
            SELECT true, values FROM variants WHERE workspace_id = $1) AS held
     CROSS JOIN LATERAL jsonb_each(held.values) AS value
     CROSS JOIN LATERAL (
           SELECT '' AS dimension_id, '' AS segment_id
            UNION ALL
           SELECT pair.key, pair.value
             FROM jsonb_path_query(value.value, '$[*].scope') AS scope
            CROSS JOIN LATERAL jsonb_each_text(scope) AS pair) AS place
"""
_MARKED = """
    SELECT in_variants, attribute_id, dimension_id, segment_id
      FROM value_uses WHERE workspace_id = $1
"""


async def unmarked(workspace: RecordsWorkspace) -> list[tuple[object, ...]]:
    """What is stored and has no mark: nothing, or a question is answered wrongly."""
    rows = await workspace.fetch(f"{_STORED} EXCEPT {_MARKED}")
    return [tuple(row.values()) for row in rows]


async def forget_that_all_are_marked(workspace: RecordsWorkspace) -> None:
    """As in a workspace whose older records have no marks yet: records are searched."""
    await workspace.database.execute(
        "UPDATE models SET are_uses_known = false WHERE workspace_id = $1", workspace.id
    )


async def marked(workspace: RecordsWorkspace) -> set[tuple[object, ...]]:
    """The marks: whether of variants, attribute, dimension, segment."""
    return {tuple(row.values()) for row in await workspace.fetch(_MARKED)}

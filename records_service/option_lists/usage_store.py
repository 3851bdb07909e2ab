"""SQL: what uses an option list and its options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from records_service.model_objects.search_store import Search
from records_service.model_objects.searching import Searcher
from records_service.permissions.store import schemas_with_values
from shared.database import Conn


async def choosing(conn: Conn, workspace_id: str, list_id: str) -> list[str]:
    """The attributes that choose from this list, or have a field that does."""
    rows = await conn.fetch(
        """
        SELECT id
          FROM attributes
         WHERE workspace_id = $1
           AND (body ->> 'optionListId' = $2
                OR jsonb_path_exists(body, '$.attributes.**.optionListId ? (@ == $id)',
                                     jsonb_build_object('id', $2::text)))
        """,
        workspace_id,
        list_id,
    )
    return [row["id"] for row in rows]


async def used_value(
    conn: Conn, workspace_id: str, list_id: str, value_ids: Sequence[str], searcher: Searcher
) -> str | None:
    """One of these values that a record has in an attribute, or a field of one, with this list."""
    if not value_ids:
        return None
    rows = await conn.fetch(
        """
        SELECT id, body
          FROM attributes
         WHERE workspace_id = $1
           AND (body ->> 'optionListId' = $2
                OR jsonb_path_exists(body, '$.attributes.**.optionListId ? (@ == $id)',
                                     jsonb_build_object('id', $2::text)))
         ORDER BY id
        """,
        workspace_id,
        list_id,
    )
    places = [(row["id"], path) for row in rows for path in _paths(row["body"], list_id)]
    attribute_ids = [attribute_id for attribute_id, _ in places]
    schema_ids = await schemas_with_values(conn, workspace_id, attribute_ids)
    search = Search(
        """
        SELECT chosen #>> '{}' AS found
          FROM unnest($2::text[], $3::text[]) AS choosing (id, path)
         CROSS JOIN LATERAL jsonb_path_query(r.values -> choosing.id, choosing.path::jsonpath)
                            AS chosen
         WHERE chosen #>> '{}' = ANY($4::text[])
        """,
        (attribute_ids, [path for _, path in places], list(value_ids)),
    )
    return await searcher.first_found(conn, workspace_id, schema_ids, search)


async def guarding(
    conn: Conn, workspace_id: str, list_id: str, value_ids: Sequence[str]
) -> tuple[str, str] | None:
    """One of these values that a guard names, and the alias of the attribute with that guard.

    A guard on an object names what any text in it says.
    """
    if not value_ids:
        return None
    row = await conn.fetchrow(
        """
        WITH choosing AS MATERIALIZED (
            SELECT id
              FROM attributes
             WHERE workspace_id = $1
               AND (body ->> 'optionListId' = $2
                    OR jsonb_path_exists(body, '$.attributes.**.optionListId ? (@ == $id)',
                                         jsonb_build_object('id', $2::text)))
        )
        SELECT named #>> '{}' AS value_id, a.alias
          FROM attributes a
         CROSS JOIN LATERAL jsonb_array_elements(a.body -> 'guards') AS guard
         CROSS JOIN LATERAL jsonb_path_query(guard -> 'value', 'strict $.**') AS named
         WHERE a.workspace_id = $1
           AND guard ->> 'attributeId' IN (SELECT id FROM choosing)
           AND guard ->> 'operator' IN ('equals', 'notEquals', 'in')
           AND named #>> '{}' = ANY($3::text[])
         LIMIT 1
        """,
        workspace_id,
        list_id,
        list(value_ids),
    )
    return None if row is None else (row["value_id"], row["alias"])


def _paths(form: Mapping[str, Any], list_id: str, path: str = "lax $[*].value") -> Iterator[str]:
    """JSON paths into the entries of an attribute: where it, or a field of it, has these options.

    Fields are members of objects, or of the objects in an array: that is what `lax` means.
    """
    if form.get("optionListId") == list_id:
        yield f"{path}[*]"
    for field in form.get("attributes", ()):
        yield from _paths(field, list_id, f'{path}."{field["alias"]}"')

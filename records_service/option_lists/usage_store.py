"""SQL: what uses an option list and its options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from records_service.model_objects.search_store import Hit, Search
from records_service.model_objects.searching import Searcher
from records_service.permissions.store import places_of_values
from records_service.value_uses import store as value_uses
from shared.database import Conn

VALUES_ASKED_MAX: Final = 2_000
"""For more values than these it may be quicker to read the records."""


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


async def is_converted_to(conn: Conn, workspace_id: str, list_id: str) -> bool:
    """Whether values of an attribute are being converted to options of this list.

    When that ends, they are used as by every attribute that has the list.
    """
    found: bool = await conn.fetchval(
        """
        SELECT EXISTS (SELECT FROM conversions
                        WHERE workspace_id = $1 AND form ->> 'optionListId' = $2
                          AND phase NOT IN ('settling', 'finishing', 'forgetting'))
        """,
        workspace_id,
        list_id,
    )
    return found


async def used_value(
    conn: Conn, workspace_id: str, list_id: str, value_ids: Sequence[str], searcher: Searcher
) -> Hit | None:
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
    fields = {row["id"]: list(_fields(row["body"], list_id)) for row in rows}
    indexed = frozenset[str]()
    if searcher.index is not None and len(value_ids) <= VALUES_ASKED_MAX:
        indexed = await searcher.index.knows(conn, workspace_id, fields)
        known = {each: fields[each] for each in indexed}
        found = await searcher.index.chosen(conn, workspace_id, known, value_ids)
        if found is not None:
            return found
    marks = await value_uses.marks(conn, workspace_id, fields)
    places = await places_of_values(conn, workspace_id, fields, indexed, marks)
    paths = [(each, _path(names)) for each, found in fields.items() for names in found]
    search = Search(
        """
        SELECT chosen #>> '{}' AS found
          FROM unnest($2::text[], $3::text[]) AS choosing (id, path)
         CROSS JOIN LATERAL jsonb_path_query(r.values -> choosing.id, choosing.path::jsonpath)
                            AS chosen
         WHERE chosen #>> '{}' = ANY($4::text[])
        """,
        ([each for each, _ in paths], [path for _, path in paths], list(value_ids)),
    )
    return await searcher.first_hit(conn, workspace_id, places, search)


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


def _fields(
    form: Mapping[str, Any], list_id: str, names: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """The fields that lead to each place where an attribute has options of this list."""
    if form.get("optionListId") == list_id:
        yield names
    for field in form.get("attributes", ()):
        yield from _fields(field, list_id, (*names, field["alias"]))


def _path(names: Sequence[str]) -> str:
    """A JSON path into the entries of an attribute.

    Fields are members of objects, or of the objects in an array: that is what `lax` means.
    """
    fields = "".join(f'."{name}"' for name in names)
    return f"lax $[*].value{fields}[*]"

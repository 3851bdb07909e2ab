"""SQL: what uses an attribute, and since when searches may look it up in the search index."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from records_service.attributes.model import (
    ATTRIBUTE,
    UNIQUE_PENDING,
    AttributeType,
    is_filterable,
)
from records_service.model_objects.search_store import Search
from records_service.model_objects.searching import Searcher
from records_service.permissions.store import places_of_values
from records_service.value_uses import store as value_uses
from records_service.value_uses.asking import first_used, still_held
from shared.database import Conn, Record
from shared.database.listing import Narrowing, Piece, Position, read_piece

OPTIONS_ASKED_MAX: Final = 500
SINCE: Final = """(
    SELECT coalesce((SELECT ready_at FROM search_attributes
                      WHERE workspace_id = $1 AND attribute_id = attributes.id),
                    attributes.created_at)
     WHERE EXISTS (SELECT FROM models WHERE workspace_id = $1 AND is_indexed)
       AND NOT EXISTS (SELECT FROM search_builds
                        WHERE workspace_id = $1 AND attributes.id = ANY(attribute_ids)))"""
"""Since when the index is right for a filterable attribute, NULL while it is not.

An attribute that no build was ever needed for is in the index since its creation."""


async def page(conn: Conn, workspace_id: str, after: Position, narrowing: Narrowing) -> Piece:
    """As `model_objects.store.page`, with `since` of each attribute."""
    return await read_piece(
        conn,
        ATTRIBUTE.table,
        f"id, alias, body::text AS body, version, created_at, updated_at, {SINCE} AS since",
        "octet_length(body)",
        workspace_id,
        after,
        narrowing,
    )


async def since(
    conn: Conn, workspace_id: str, attribute_ids: Collection[str]
) -> dict[str, datetime]:
    """Since when the index is right for each of these attributes for which it is."""
    rows = await conn.fetch(
        f"""
        SELECT id, {SINCE} AS since FROM attributes
         WHERE workspace_id = $1 AND id = ANY($2::text[])
        """,  # noqa: S608 - a constant
        workspace_id,
        list(attribute_ids),
    )
    return {row["id"]: row["since"] for row in rows if row["since"] is not None}


async def in_index(conn: Conn, workspace_id: str, attribute_ids: Collection[str]) -> frozenset[str]:
    """Those of these attributes that are filterable, and for which the index is right."""
    rows = await conn.fetch(
        f"""
        SELECT id, body - 'guards' AS body FROM attributes
         WHERE workspace_id = $1 AND id = ANY($2::text[]) AND {SINCE} IS NOT NULL
        """,  # noqa: S608 - a constant
        workspace_id,
        list(attribute_ids),
    )
    return frozenset(row["id"] for row in rows if is_filterable(row["body"]))


def of_schema(narrowing: Narrowing, name: str) -> Narrowing:
    """A list of attributes narrowed to those of the schema with this id or alias."""
    return narrowing.and_also(
        """id IN (
            SELECT jsonb_path_query(s.body, '$.attributeGroups[*].attributeIds[*]')
                   #>> ARRAY[]::text[]
              FROM schemas s
             WHERE s.workspace_id = $1
               AND s.id = coalesce(
                       (SELECT id FROM schemas WHERE workspace_id = $1 AND id = {}),
                       (SELECT id FROM schemas WHERE workspace_id = $1 AND alias = {})))""",
        name,
    )


async def uses_of(conn: Conn, workspace_id: str, attribute_id: str) -> tuple[list[str], list[str]]:
    """The schemas that group it, and the other attributes whose guards look at it."""
    row = await conn.fetchrow(
        """
        SELECT ARRAY(SELECT id FROM schemas
                      WHERE workspace_id = $1
                        AND jsonb_path_exists(body, '$.attributeGroups[*].attributeIds[*]
                                                     ? (@ == $id)',
                                              jsonb_build_object('id', $2::text))) AS schemas,
               ARRAY(SELECT id FROM attributes
                      WHERE workspace_id = $1 AND id <> $2
                        AND jsonb_path_exists(body, '$.guards[*].attributeId ? (@ == $id)',
                                              jsonb_build_object('id', $2::text))) AS guarded
        """,
        workspace_id,
        attribute_id,
    )
    assert row is not None
    return row["schemas"], row["guarded"]


async def countables(conn: Conn, workspace_id: str, attribute_ids: Collection[str]) -> list[Record]:
    """Of each of these attributes: id, whether it is required, what its guards refer to."""
    return await conn.fetch(
        """
        SELECT id,
               coalesce(body->'validation'->'required' = 'true', false) AS required,
               ARRAY(SELECT jsonb_path_query(body, '$.guards[*].attributeId') #>> '{}') AS guards
          FROM attributes
         WHERE workspace_id = $1 AND id = ANY($2::text[])
        """,
        workspace_id,
        list(attribute_ids),
    )


async def with_workflow(
    conn: Conn, workspace_id: str, attribute_id: str
) -> list[tuple[str, str, Sequence[str]]]:
    """Of each schema with a workflow that has this attribute: id, workflow, its attributes."""
    rows = await conn.fetch(
        """
        SELECT id, body->>'workflowId' AS workflow_id,
               ARRAY(SELECT jsonb_path_query(body, '$.attributeGroups[*].attributeIds[*]')
                            #>> '{}') AS attribute_ids
          FROM schemas
         WHERE workspace_id = $1
           AND body->>'workflowId' IS NOT NULL
           AND jsonb_path_exists(body, '$.attributeGroups[*].attributeIds[*] ? (@ == $id)',
                                 jsonb_build_object('id', $2::text))
        """,
        workspace_id,
        attribute_id,
    )
    return [(row["id"], row["workflow_id"], row["attribute_ids"]) for row in rows]


async def option_ids(
    conn: Conn, workspace_id: str, names: Collection[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """The option behind each (list, id or alias) that there is; an id comes before an alias."""
    if not names:
        return {}
    rows = await conn.fetch(
        """
        SELECT asked.list_id, asked.name, coalesce(by_id.id, by_alias.id) AS id
          FROM unnest($2::text[], $3::text[]) AS asked (list_id, name)
          LEFT JOIN option_values by_id
                 ON by_id.workspace_id = $1 AND by_id.list_id = asked.list_id
                AND by_id.id = asked.name
          LEFT JOIN option_values by_alias
                 ON by_alias.workspace_id = $1 AND by_alias.list_id = asked.list_id
                AND by_alias.alias = asked.name
         WHERE coalesce(by_id.id, by_alias.id) IS NOT NULL
        """,
        workspace_id,
        [list_id for list_id, _ in names],
        [name for _, name in names],
    )
    return {(row["list_id"], row["name"]): row["id"] for row in rows}


async def comparing(conn: Conn, workspace_id: str, attribute_id: str) -> str | None:
    """The alias of an attribute whose guard compares the values of this one."""
    alias: str | None = await conn.fetchval(
        """
        SELECT alias FROM attributes
         WHERE workspace_id = $1 AND id <> $2
           AND jsonb_path_exists(body, '$.guards[*] ? (@.attributeId == $id
                                            && @.operator != "isEmpty"
                                            && @.operator != "isNotEmpty")',
                                 jsonb_build_object('id', $2::text))
         ORDER BY created_at, id
         LIMIT 1
        """,
        workspace_id,
        attribute_id,
    )
    return alias


async def is_being_removed(conn: Conn, workspace_id: str, attribute_id: str) -> bool:
    """Whether a deleted attribute with this id has values, or has reserved some, that go soon."""
    found: bool = await conn.fetchval(
        """
        SELECT EXISTS (SELECT FROM attribute_removals
                        WHERE workspace_id = $1 AND attribute_id = $2)
            OR EXISTS (SELECT FROM unique_checks
                        WHERE workspace_id = $1 AND attribute_id = $2)
        """,
        workspace_id,
        attribute_id,
    )
    return found


async def has_values(conn: Conn, workspace_id: str, attribute_id: str, searcher: Searcher) -> bool:
    """Whether a record or a variant holds a value of it.

    Records are read only where no index tells, and of those only what was written since there is
    the attribute, as long as that is not too much.
    """
    row = await conn.fetchrow(
        """
        SELECT body, created_at,
               EXISTS (SELECT FROM unique_values
                        WHERE workspace_id = $1 AND attribute_id = $2) AS has_unique_keys
          FROM attributes
         WHERE workspace_id = $1 AND id = $2
        """,
        workspace_id,
        attribute_id,
    )
    if row is None:
        return False
    body = row["body"]
    if row["has_unique_keys"] and body["validation"].get("unique") and UNIQUE_PENDING not in body:
        # Otherwise keys may be there that nobody holds any more.
        return True
    marks = await value_uses.marks(conn, workspace_id, [attribute_id])
    search = Search("SELECT $2::text AS found WHERE r.values ? $2", (attribute_id,))
    if marks is not None and not marks.all_attribute_ids:
        return False
    if marks is not None and await still_held(conn, workspace_id, marks, search):
        return True
    held = await _held_in_index(conn, workspace_id, attribute_id, body, searcher)
    if held:
        return True
    indexed = [attribute_id] if held is False else []
    places = await places_of_values(conn, workspace_id, [attribute_id], indexed, marks)
    since = row["created_at"]
    found = await first_used(conn, workspace_id, searcher, places, search, marks, since=since)
    return found is not None


async def _held_in_index(
    conn: Conn,
    workspace_id: str,
    attribute_id: str,
    body: Mapping[str, Any],
    searcher: Searcher,
) -> bool | None:
    """Whether a record of a schema that has the attribute holds a value; None if nobody can say."""
    index = searcher.index
    if index is None or not await index.knows(conn, workspace_id, [attribute_id]):
        return None
    match AttributeType(body["type"]):
        case AttributeType.NUMBER | AttributeType.DATETIME:
            return await index.has_numbers(conn, workspace_id, attribute_id)
        case AttributeType.BOOLEAN:
            values = ["true", "false"]
        case AttributeType.OPTION:
            values = await _some_options(conn, workspace_id, body["optionListId"])
            if len(values) > OPTIONS_ASKED_MAX:
                return None
        case _:
            return None
    places = {attribute_id: [()]}
    return await index.chosen(conn, workspace_id, places, values) is not None


async def _some_options(conn: Conn, workspace_id: str, list_id: str) -> list[str]:
    """The ids of the options of a list: one more than are asked for, if there are more."""
    rows = await conn.fetch(
        "SELECT id FROM option_values WHERE workspace_id = $1 AND list_id = $2 LIMIT $3",
        workspace_id,
        list_id,
        OPTIONS_ASKED_MAX + 1,
    )
    return [row["id"] for row in rows]

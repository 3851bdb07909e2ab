"""The SQL that all kinds of model objects share; table names are constants of `Kind`.

`changed_in` is the version of the workspace's model that a row was last written in. Whoever has
read the model at some version needs only the rows that were written later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from records_service.model_objects.model import Kind, ModelObject
from records_service.model_objects.size import bytes_of_object, counted
from shared.database import Conn, mapping_constraints
from shared.database.listing import WHOLE, Narrowing, Piece, Position, read_piece
from shared.errors import Conflict, NotFound, truncated

FORMER_ALIASES_MAX = 100
OTHERS_NAMED_MAX = 2_001
"""One more than an entry of a role, or a list of a state, can name."""

_COLUMNS = "id, alias, body, version, created_at, updated_at"


async def page(
    conn: Conn, kind: Kind, workspace_id: str, after: Position, narrowing: Narrowing = WHOLE
) -> Piece:
    """Parts in order of creation after this one, bodies as text, and whether there are more."""
    return await read_piece(
        conn,
        kind.table,
        "id, alias, body::text AS body, version, created_at, updated_at",
        "octet_length(body)",
        workspace_id,
        after,
        narrowing,
    )


async def get_many(
    conn: Conn, kind: Kind, workspace_id: str, object_ids: Iterable[str]
) -> dict[str, ModelObject]:
    """Id -> model object, of those that exist."""
    rows = await conn.fetch(
        f"""
        SELECT {_COLUMNS} FROM {kind.table}
         WHERE workspace_id = $1 AND id = ANY($2::text[]) AND {kind.present}
        """,  # noqa: S608
        workspace_id,
        list(object_ids),
    )
    return {row["id"]: ModelObject(**row) for row in rows}


async def get(conn: Conn, kind: Kind, workspace_id: str, object_id: str) -> ModelObject:
    """One object, or `NotFound`."""
    row = await conn.fetchrow(
        f"""
        SELECT {_COLUMNS} FROM {kind.table}
         WHERE workspace_id = $1 AND id = $2 AND {kind.present}
        """,  # noqa: S608
        workspace_id,
        object_id,
    )
    if row is None:
        raise NotFound.of(kind.title, object_id)
    return ModelObject(**row)


async def ids_of(conn: Conn, kind: Kind, workspace_id: str, names: Iterable[str]) -> dict[str, str]:
    """Name -> id of the model object that has the name as id or, failing that, as alias."""
    asked = list(dict.fromkeys(names))
    if not asked:
        return {}
    rows = await conn.fetch(
        f"""
        SELECT id, alias FROM {kind.table}
         WHERE workspace_id = $1 AND (id = ANY($2::text[]) OR alias = ANY($2::text[]))
           AND {kind.present}
        """,  # noqa: S608
        workspace_id,
        asked,
    )
    ids = {row["id"] for row in rows}
    ids_by_alias = {row["alias"]: row["id"] for row in rows}
    return {
        name: name if name in ids else ids_by_alias[name]
        for name in asked
        if name in ids or name in ids_by_alias
    }


async def meant_by(
    conn: Conn, kind: Kind, workspace_id: str, names: Iterable[str]
) -> dict[str, set[str]]:
    """Name -> ids of all model objects that have the name as id or alias, or had it as alias."""
    rows = await conn.fetch(
        f"""
        SELECT id AS name, id FROM {kind.table} WHERE workspace_id = $1 AND id = ANY($2::text[])
         UNION
        SELECT alias, id FROM {kind.table} WHERE workspace_id = $1 AND alias = ANY($2::text[])
         UNION
        SELECT f.alias, f.id
          FROM former_aliases f
          JOIN {kind.table} p ON p.workspace_id = f.workspace_id AND p.id = f.id
         WHERE f.workspace_id = $1 AND f.kind = $3 AND f.alias = ANY($2::text[])
        """,  # noqa: S608
        workspace_id,
        list(names),
        kind.table,
    )
    meant: dict[str, set[str]] = {}
    for row in rows:
        meant.setdefault(row["name"], set()).add(row["id"])
    return meant


async def insert(
    conn: Conn, kind: Kind, workspace_id: str, object_id: str, alias: str, body: Mapping[str, Any]
) -> ModelObject:
    """A new object; `Conflict` for a taken id, alias or external key.

    Its versions begin at the model's, which no object's ever exceeds: so one that is made again
    under an old id has a version that the earlier one never had, and no old `If-Match` matches it.
    """
    taken = {
        f"{kind.table}_id_taken": lambda: Conflict.taken(kind.title, object_id),
        f"{kind.table}_alias_taken": lambda: alias_taken(kind, alias),
        f"{kind.table}_external_key_taken": lambda: external_key_taken(
            kind.title, body["externalKey"]
        ),
    }
    async with counted(conn, workspace_id) as growth:
        with mapping_constraints(taken):
            row = await conn.fetchrow(
                f"""
            INSERT INTO {kind.table} AS new (workspace_id, id, alias, body, version, changed_in,
                                             created_at, updated_at)
            SELECT $1, $2, $3, $4, version, version, clock_timestamp(), clock_timestamp()
              FROM models WHERE workspace_id = $1
            RETURNING {_COLUMNS}, {bytes_of_object("new")} AS bytes
            """,  # noqa: S608
                workspace_id,
                object_id,
                alias,
                body,
            )
        assert row is not None
        growth.objects, growth.bytes = 1, row["bytes"]
    return ModelObject(*row[:-1])


async def update(
    conn: Conn, kind: Kind, workspace_id: str, object_id: str, alias: str, body: Mapping[str, Any]
) -> ModelObject:
    """The next version of a model object.

    Raises `NotFound`, or `Conflict` for a taken alias or external key.
    """
    taken = {
        f"{kind.table}_alias_taken": lambda: alias_taken(kind, alias),
        f"{kind.table}_external_key_taken": lambda: external_key_taken(
            kind.title, body["externalKey"]
        ),
    }
    async with counted(conn, workspace_id) as growth:
        with mapping_constraints(taken):
            row = await conn.fetchrow(
                f"""
            UPDATE {kind.table} p
               SET alias = $3, body = $4, version = p.version + 1, changed_in = m.version,
                   updated_at = greatest($5, p.updated_at)
              FROM models m, {kind.table} old
             WHERE p.workspace_id = $1 AND p.id = $2 AND m.workspace_id = $1
               AND old.workspace_id = $1 AND old.id = $2
            RETURNING p.id, p.alias, p.body, p.version, p.created_at, p.updated_at,
                      ({bytes_of_object("p")}) - ({bytes_of_object("old")}) AS bytes
            """,  # noqa: S608
                workspace_id,
                object_id,
                alias,
                body,
                datetime.now(UTC),
            )
        if row is None:
            raise NotFound.of(kind.title, object_id)
        growth.bytes = row["bytes"]
    return ModelObject(*row[:-1])


async def set_body(
    conn: Conn, kind: Kind, workspace_id: str, object_id: str, body: Mapping[str, Any]
) -> None:
    """Store what the service has found out about a model object, in a new version of the model.

    The object keeps its version: what clients write of it is as it was.
    """
    async with counted(conn, workspace_id) as growth:
        growth.bytes = await conn.fetchval(
            f"""
            UPDATE {kind.table} p
               SET body = $3, changed_in = m.version
              FROM models m, {kind.table} old
             WHERE p.workspace_id = $1 AND p.id = $2 AND m.workspace_id = $1
               AND old.workspace_id = $1 AND old.id = $2
            RETURNING ({bytes_of_object("p")}) - ({bytes_of_object("old")})
            """,  # noqa: S608
            workspace_id,
            object_id,
            body,
        )


async def delete(conn: Conn, kind: Kind, workspace_id: str, object_id: str) -> None:
    """Delete a model object, or `NotFound`."""
    async with counted(conn, workspace_id) as growth:
        freed: int | None = await conn.fetchval(
            f"""
            DELETE FROM {kind.table} AS old WHERE workspace_id = $1 AND id = $2
            RETURNING {bytes_of_object("old")}
            """,  # noqa: S608
            workspace_id,
            object_id,
        )
        if freed is None:
            raise NotFound.of(kind.title, object_id)
        growth.objects, growth.bytes = -1, -freed


async def insert_former_alias(conn: Conn, kind: Kind, workspace_id: str, old: ModelObject) -> None:
    """Store an alias that is given up: what a role or a state's list denies by it stays denied.

    It is kept when the object is deleted, too: one created again with its id has its history.
    """
    await conn.execute(
        """
        INSERT INTO former_aliases (workspace_id, kind, id, alias)
        VALUES ($1, $2, $3, $4)
            ON CONFLICT DO NOTHING
        """,
        workspace_id,
        kind.table,
        old.id,
        old.alias,
    )


async def former_aliases(
    conn: Conn, kind: Kind, workspace_id: str, object_ids: Iterable[str]
) -> dict[str, list[str]]:
    """Id -> the former aliases of these model objects."""
    rows = await conn.fetch(
        """
        SELECT id, array_agg(alias ORDER BY alias) AS aliases
          FROM former_aliases
         WHERE workspace_id = $1 AND kind = $2 AND id = ANY($3::text[])
         GROUP BY id
        """,
        workspace_id,
        kind.table,
        list(object_ids),
    )
    return {row["id"]: row["aliases"] for row in rows}


async def naming(
    conn: Conn, kind: Kind, workspace_id: str, model_object: ModelObject
) -> dict[str, Any]:
    """What those need to know who hold names: who else had this object's alias, and what it was.

    `othersNamed` are the ids of model objects that had the alias, or have it as their id.
    """
    row = await conn.fetchrow(
        f"""
        SELECT (SELECT version FROM models WHERE workspace_id = $1) AS model_version,
               ARRAY(SELECT alias FROM former_aliases
                      WHERE workspace_id = $1 AND kind = $2 AND id = $3
                      ORDER BY alias) AS former_aliases,
               ARRAY(SELECT id FROM former_aliases
                      WHERE workspace_id = $1 AND kind = $2 AND alias = $4 AND id <> $3
                      UNION
                     SELECT id FROM {kind.table}
                      WHERE workspace_id = $1 AND id = $4 AND id <> $3
                      ORDER BY id
                      LIMIT $5) AS others_named
        """,  # noqa: S608
        workspace_id,
        kind.table,
        model_object.id,
        model_object.alias,
        OTHERS_NAMED_MAX,
    )
    assert row is not None
    return {
        "modelVersion": row["model_version"],
        "formerAliases": row["former_aliases"],
        "othersNamed": row["others_named"],
    }


async def segments_among(conn: Conn, workspace_id: str, segment_ids: Collection[str]) -> set[str]:
    """Those of these ids that a segment of the workspace has."""
    rows = await conn.fetch(
        """
        SELECT DISTINCT segment ->> 'id' AS id
          FROM dimensions
         CROSS JOIN LATERAL jsonb_array_elements(body -> 'segments') AS segment
         WHERE workspace_id = $1 AND segment ->> 'id' = ANY($2::text[])
        """,
        workspace_id,
        list(segment_ids),
    )
    return {row["id"] for row in rows}


async def model_version(conn: Conn, workspace_id: str) -> int:
    """The version of the workspace's model, 0 before there is any."""
    version: int | None = await conn.fetchval(
        "SELECT version FROM models WHERE workspace_id = $1", workspace_id
    )
    return version or 0


async def check_may_be_renamed(conn: Conn, kind: Kind, workspace_id: str, old: ModelObject) -> None:
    """Raise `Conflict` for a model object that has had as many aliases as are remembered."""
    count: int = await conn.fetchval(
        """
        SELECT count(*) FROM former_aliases
         WHERE workspace_id = $1 AND kind = $2 AND id = $3 AND alias <> $4
        """,
        workspace_id,
        kind.table,
        old.id,
        old.alias,
    )
    if count >= FORMER_ALIASES_MAX:
        raise Conflict(
            f"{kind.title} '{truncated(old.id)}' keeps its alias '{truncated(old.alias)}':"
            f" it has had {FORMER_ALIASES_MAX} others, the maximum"
        )


def alias_taken(kind: Kind, alias: str) -> Conflict:
    """A second model object of this kind with one alias."""
    return Conflict(f"{kind.title} with alias '{truncated(alias)}' already exists")


def external_key_taken(title: str, key: str) -> Conflict:
    """A second object of this kind with one external key."""
    return Conflict(f"{title} with external key '{truncated(key)}' already exists")

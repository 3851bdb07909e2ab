"""The SQL that reads variants; `writes` has the SQL that writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from records_service.model_objects.converted_values import values_now
from records_service.values.entries import Values
from records_service.writes.model import Record, Variant
from shared.database import Conn, paging
from shared.database.paging import Key, Order, Part, Total
from shared.database.paging import Place as PagePlace

_OF_RECORD = """
    r.workspace_id, r.id, r.schema_id, r.state_id, r.version, r.created_at, r.updated_at,
    r.created_by, r.updated_by, r.external_key
"""
_OF_VARIANT = f"""
    v.id AS variant_id, v.parent_id, v.path, v.level, v.version AS variant_version,
    {values_now("v", "m.settling")} AS variant_values, v.created_at AS variant_created_at,
    v.updated_at AS variant_updated_at, v.created_by AS variant_created_by,
    v.updated_by AS variant_updated_by
"""
_RECORD_AND_VARIANT: Final = """
    FROM records r
    JOIN models m ON m.workspace_id = r.workspace_id
    LEFT JOIN variants v
      ON v.workspace_id = r.workspace_id AND v.record_id = r.id AND v.id = $3
   WHERE r.workspace_id = $1 AND r.id = $2
"""
"""Of a record and one variant of it; the variant may be missing."""
BY_CREATION: Final[Order] = (Key("created_at", datetime), Key("id", str))


@dataclass(frozen=True, slots=True)
class Found:
    """A record, and a variant of it; all of one moment.

    `ancestors` are the values of the record and of the variants above this one, from the top down.
    """

    record: Record
    model_version: int
    variant: Variant | None
    ancestors: Sequence[Values] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a variant is to be created: below a record, or below a variant of it if there is one.

    `variants` is how many the record has, counted up to a limit.
    """

    record: Record
    model_version: int
    parent_path: Sequence[str] | None
    variants: int
    first_version: int


@dataclass(frozen=True, slots=True)
class Listing:
    """Part of a list of variants, their documents still JSON; all of one moment."""

    part: Part[Any]
    total: Total | None
    model_version: int


async def find(conn: Conn, workspace_id: str, record_id: str, variant_id: str) -> Found | None:
    """A record without its values, and its variant; None without the record."""
    row = await conn.fetchrow(
        f"""
        SELECT {_OF_RECORD}, {_OF_VARIANT}, m.version AS model_version
          {_RECORD_AND_VARIANT}
        """,
        workspace_id,
        record_id,
        variant_id,
    )
    if row is None:
        return None
    return Found(_record(row, {}), row["model_version"], _variant(row))


async def records_of_variants(
    conn: Conn, workspace_id: str, ids: Sequence[str]
) -> dict[str, tuple[str, int]]:
    """Id -> the record and the version of each of these variants that exists."""
    rows = await conn.fetch(
        """
        SELECT id, record_id, version FROM variants
         WHERE workspace_id = $1 AND id = ANY($2::text[])
        """,
        workspace_id,
        list(ids),
    )
    return {row["id"]: (row["record_id"], row["version"]) for row in rows}


async def having_variants(conn: Conn, workspace_id: str, record_ids: Sequence[str]) -> set[str]:
    """Those of these records that have variants."""
    rows = await conn.fetch(
        """
        SELECT asked.id
          FROM unnest($2::text[]) AS asked (id)
         CROSS JOIN LATERAL (SELECT FROM variants v
                              WHERE v.workspace_id = $1 AND v.record_id = asked.id
                              LIMIT 1) AS found
        """,
        workspace_id,
        list(record_ids),
    )
    return {row["id"] for row in rows}


async def find_with_ancestors(
    conn: Conn, workspace_id: str, record_id: str, variant_id: str
) -> Found | None:
    """As `find`, with all that the variant may inherit."""
    row = await conn.fetchrow(
        f"""
        SELECT {_OF_RECORD}, {_OF_VARIANT}, m.version AS model_version,
               {values_now("r", "m.settling")} AS values,
               ARRAY(SELECT {values_now("above", "m.settling")}
                       FROM unnest(v.path) WITH ORDINALITY AS step (id, place)
                       JOIN variants above ON above.workspace_id = $1 AND above.id = step.id
                      ORDER BY step.place) AS above
          {_RECORD_AND_VARIANT}
        """,  # noqa: S608 - constants
        workspace_id,
        record_id,
        variant_id,
    )
    if row is None:
        return None
    return Found(
        _record(row, row["values"]),
        row["model_version"],
        _variant(row),
        [row["values"], *row["above"]],
    )


async def find_place(
    conn: Conn,
    workspace_id: str,
    record_id: str,
    parent_id: str | None,
    variant_id: str,
    *,
    counted_max: int,
) -> Place | None:
    """Where a variant with this id is to be created; None without the record."""
    row = await conn.fetchrow(
        f"""
        SELECT {_OF_RECORD}, m.version AS model_version,
               CASE WHEN p.id IS NOT NULL THEN p.path || p.id END AS parent_path,
               (SELECT count(*)
                  FROM (SELECT 1 FROM variants
                         WHERE workspace_id = $1 AND record_id = $2 LIMIT $5) AS one) AS variants,
               (SELECT next_version FROM variant_lives
                 WHERE workspace_id = $1 AND variant_id = $4) AS first_version
          FROM records r
          JOIN models m ON m.workspace_id = r.workspace_id
          LEFT JOIN variants p
            ON p.workspace_id = r.workspace_id AND p.record_id = r.id AND p.id = $3
         WHERE r.workspace_id = $1 AND r.id = $2
        """,  # noqa: S608 - constants
        workspace_id,
        record_id,
        parent_id,
        variant_id,
        counted_max,
    )
    if row is None:
        return None
    return Place(
        _record(row, {}),
        row["model_version"],
        row["parent_path"],
        row["variants"],
        row["first_version"] or 1,
    )


async def page(
    conn: Conn,
    workspace_id: str,
    *,
    record_id: str | None = None,
    schema_id: str | None = None,
    place: PagePlace,
) -> Listing | None:
    """Variants of a record, of a schema or of all, in order; None if there is no such record.

    Raises `ValidationError` for a page of too many bytes whose limit was asked for; it is shorter
    where the limit is the default.
    """
    where = ["workspace_id = $1"]
    arguments: list[Any] = [workspace_id]
    for column, value in (("record_id", record_id), ("schema_id", schema_id)):
        if value is not None:
            arguments.append(value)
            where.append(f"{column} = ${len(arguments)}")
    source = f"variants WHERE {' AND '.join(where)}"
    # What the variants before the page hold is not looked at.
    wanted = place.select(place.columns, source, arguments)
    arguments += (paging.PAGE_BYTES_MAX, record_id)
    bytes_max, record = f"${len(arguments) - 1}::bigint", f"${len(arguments)}::text"
    order = ", ".join(f"v.{key.order}" for key in place.order)
    rows = await conn.fetch(
        f"""
        WITH wanted AS MATERIALIZED (
            {wanted}
        ), listed AS (
            SELECT v.*, r.state_id
              FROM wanted w
             CROSS JOIN LATERAL (
                   SELECT id, record_id, schema_id, parent_id, path, level, version,
                          ({values_now("variants")})::text AS document,
                          created_at, updated_at, created_by, updated_by
                     FROM variants
                    WHERE workspace_id = $1 AND id = w.id
                    LIMIT 1  -- One by one: PostgreSQL would expect many, and read whole tables.
             ) v
             CROSS JOIN LATERAL (
                   SELECT state_id FROM records
                    WHERE workspace_id = $1 AND id = v.record_id
                    LIMIT 1
             ) r
        )
        SELECT v.id, v.record_id, v.schema_id, v.parent_id, v.path, v.level, v.version,
               -- The first is always there, as in records/store.py.
               CASE WHEN sum(octet_length(v.document)) OVER (ORDER BY {order}) <= {bytes_max}
                      OR sum(octet_length(v.document)) OVER (ORDER BY {order})
                         = octet_length(v.document)
                    THEN v.document END AS document,
               v.created_at, v.updated_at, v.created_by, v.updated_by, v.state_id,
               head.counted, head.model_version, head.record_is_there
          FROM (SELECT ({place.count(source)}) AS counted,
                       (SELECT version FROM models WHERE workspace_id = $1) AS model_version,
                       {record} IS NULL
                       OR EXISTS (SELECT FROM records WHERE workspace_id = $1 AND id = {record})
                          AS record_is_there) head
          LEFT JOIN listed v ON true
         ORDER BY {order}
        """,  # noqa: S608 - conditions are the fixed fragments above, values are arguments
        *arguments,
    )
    head = rows[0]
    if not head["record_is_there"]:
        return None
    found = [row for row in rows if row["id"] is not None]
    part = place.part(found, [row["document"] for row in found])
    total = await place.total(conn, part, head["counted"], source, arguments)
    return Listing(part, total, head["model_version"] or 0)


def listed(workspace_id: str, row: Any, values: Values) -> Variant:
    """The variant of a row of a page, with the values that its document has."""
    return Variant(
        workspace_id=workspace_id,
        id=row["id"],
        record_id=row["record_id"],
        schema_id=row["schema_id"],
        parent_id=row["parent_id"],
        path=row["path"],
        level=row["level"],
        version=row["version"],
        values=values,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        created_by=row["created_by"],
        updated_by=row["updated_by"],
    )


def _record(row: Any, values: Values) -> Record:
    return Record(
        workspace_id=row["workspace_id"],
        id=row["id"],
        schema_id=row["schema_id"],
        state_id=row["state_id"],
        version=row["version"],
        values=values,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        created_by=row["created_by"],
        updated_by=row["updated_by"],
        external_key=row["external_key"],
    )


def _variant(row: Any) -> Variant | None:
    if row["variant_id"] is None:
        return None
    return Variant(
        workspace_id=row["workspace_id"],
        id=row["variant_id"],
        record_id=row["id"],
        schema_id=row["schema_id"],
        parent_id=row["parent_id"],
        path=row["path"],
        level=row["level"],
        version=row["variant_version"],
        values=row["variant_values"],
        created_at=row["variant_created_at"],
        updated_at=row["variant_updated_at"],
        created_by=row["variant_created_by"],
        updated_by=row["variant_updated_by"],
    )

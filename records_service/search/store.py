"""The SQL of a search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from records_service.records.store import Listed, Listing
from records_service.search.sql import Arguments
from shared.database import Conn, fetch_planned, paging
from shared.database.paging import Place

FEW_UNCOUNTED: Final = 1_000
"""Where the total is not wanted."""


async def page(
    conn: Conn,
    workspace_id: str,
    *,
    place: Place,
    condition: str,
    columns: Sequence[tuple[str, str]],
    arguments: Arguments,
    joined: str = "",
    facets: tuple[str, Arguments] | None = None,
) -> tuple[Listing, list[Any]]:
    """The records that meet a condition, in the order of the place, and the rows of `facets`.

    `joined` follows `records r` in FROM. `columns` are those by which the page is sorted, each with
    its expression; `arguments` are those of all these, after `$1` for the workspace.

    Raises `ValidationError` for a page of too many bytes whose limit was asked for; it is shorter
    where the limit is the default.
    """
    sorted_by = "".join(f", {expression} AS {name}" for name, expression in columns)
    source = f"""(
        SELECT r.id, r.created_at{sorted_by}
          FROM records r {joined}
         WHERE r.workspace_id = $1 AND {condition}
        ) AS every WHERE true"""  # noqa: S608
    all_found = f"records r {joined} WHERE r.workspace_id = $1 AND {condition}"
    names = f"id, created_at{''.join(f', {name}' for name, _ in columns)}"
    few = paging.COUNTED_MAX if place.counts else FEW_UNCOUNTED
    asked = Arguments(arguments)
    # PostgreSQL cannot tell how many records meet a condition on values. So up to `few` are looked
    # for in any order, which serves page and total at once; only if there are more, it walks in
    # the order of the page as well.
    among = f"(SELECT count(*) FROM met) {{}} {few}"  # noqa: S608
    wanted = " UNION ALL ".join(
        f"({place.select(names, f'{each} AND {among.format(sign)}', asked)})"
        for each, sign in (("met WHERE true", "<="), (source, ">"))
    )
    met = f"SELECT r.id, r.created_at{sorted_by} FROM {all_found} LIMIT {few + 1}"  # noqa: S608
    found, counted, model_version, _ = await read_wanted(
        conn,
        workspace_id,
        place=place,
        ctes=f"met AS MATERIALIZED ({met}), wanted AS MATERIALIZED ({wanted})",
        columns=[name for name, _ in columns],
        counted="SELECT count(*) FROM met" if place.counts else "SELECT NULL::bigint",
        arguments=asked,
    )
    part = place.part(found, [one.row["document"] for one in found])
    total = await place.total(conn, part, counted, all_found, arguments)
    counts = [] if facets is None else await conn.fetch(facets[0], *facets[1])
    return Listing(part, total, None, model_version), counts


async def read_wanted(
    conn: Conn,
    workspace_id: str,
    *,
    place: Place,
    ctes: str,
    columns: Sequence[str],
    counted: str,
    arguments: Arguments,
    walked: str = "0",
) -> tuple[list[Listed], int | None, int, Any]:
    """The records of the CTE `wanted`, what `counted` counts, the model's version, and `walked`.

    `wanted` has their ids, times of creation and the columns by which the page is sorted.
    """
    asked = Arguments(arguments)
    bytes_max = asked.name(paging.PAGE_BYTES_MAX, "bigint")
    order = ", ".join(f"p.{key.order}" for key in place.order)
    rows = await fetch_planned(
        conn,
        f"""
        WITH {ctes}, page AS MATERIALIZED (
            SELECT r.workspace_id, r.id, r.schema_id, r.state_id, r.version,
                   r.values::text AS document, r.xmin::text AS written_by,
                   r.created_at, r.updated_at, r.created_by, r.updated_by, r.external_key
                   {"".join(f", w.{name}" for name in columns)}
              FROM wanted w
             CROSS JOIN LATERAL (
                   SELECT r.workspace_id, r.id, r.schema_id, r.state_id, r.version,
                          {asked.values_of("r")} AS values, r.xmin, r.created_at, r.updated_at,
                          r.created_by, r.updated_by, r.external_key
                     FROM records r WHERE r.workspace_id = $1 AND r.id = w.id OFFSET 0) AS r
        )
        SELECT p.workspace_id, p.id, p.schema_id, p.state_id, p.version,
               -- The first is always there, whatever its size: only there the sum is its own.
               CASE WHEN sum(octet_length(p.document)) OVER (ORDER BY {order}) <= {bytes_max}
                      OR sum(octet_length(p.document)) OVER (ORDER BY {order})
                         = octet_length(p.document)
                    THEN p.document END AS document, p.written_by,
               p.created_at, p.updated_at, p.created_by, p.updated_by, p.external_key
               {"".join(f", p.{name}" for name in columns)},
               head.counted, head.model_version, head.walked
          FROM (SELECT ({counted}) AS counted, ({walked}) AS walked,
                       (SELECT version FROM models WHERE workspace_id = $1) AS model_version) head
          LEFT JOIN page p ON true
         ORDER BY {order}
        """,  # noqa: S608 - the texts are made of constants, values are arguments
        *asked,
    )
    found = [_listed(workspace_id, row) for row in rows if row["id"] is not None]
    return found, rows[0]["counted"], rows[0]["model_version"] or 0, rows[0]["walked"]


def _listed(workspace_id: str, row: Any) -> Listed:
    return Listed(
        workspace_id,
        row["id"],
        row["schema_id"],
        row["state_id"],
        row["version"],
        row["written_by"],
        row,
    )

"""SQL: single options of large lists, by what they are called."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from records_service.option_lists.by_index import by_index
from records_service.option_lists.grams import grams_sought
from records_service.option_lists.lookup import LABELLED_MAX, Options
from shared.database import Conn


async def look_up(conn: Conn, workspace_id: str, options: Options) -> None:
    """Find what is wanted, with one statement; without one if nothing is.

    What is no id, alias or label is looked for among the labels in languages by a second one.
    """
    wanted = options.wanted
    if not wanted:
        return
    option = "FROM option_values v WHERE v.workspace_id = $1 AND v.list_id = named.list_id"
    rows = await conn.fetch(
        f"""
        SELECT named.list_id, named.name, found.id, found.way
          FROM unnest($2::text[], $3::text[]) AS named (list_id, name)
         CROSS JOIN LATERAL (
               (SELECT v.id, 1 AS way {option} AND {by_index("v.id", "named.name", 1)})
                UNION ALL
               (SELECT v.id, 2 {option} AND {by_index("v.alias", "named.name", 1)})
                UNION ALL
               (SELECT v.id, 3 {option} AND {by_index("v.label", "named.name", LABELLED_MAX + 1)})
               ) AS found
         ORDER BY found.way, found.id
        """,  # noqa: S608 - constants
        workspace_id,
        [list_id for list_id, _ in wanted],
        [name for _, name in wanted],
    )
    for list_id, name, option_id, way in rows:
        options.learn((list_id, name), option_id, is_label=way == 3)  # noqa: PLR2004
    if options.unknown:
        await _look_up_other_labels(conn, workspace_id, options)
    options.looked_up()


async def _look_up_other_labels(conn: Conn, workspace_id: str, options: Options) -> None:
    """Find the options with these labels in languages, by the parts of their names.

    Those of fewer than three characters have no parts: they are not found.
    """
    sought = [
        (list_id, name, f"{{{','.join(map(str, grams))}}}")
        for list_id, name in options.unknown
        for grams in grams_sought(workspace_id, list_id, name)
    ]
    if not sought:
        return
    rows = await conn.fetch(
        """
        SELECT DISTINCT named.list_id, named.name, found.id
          FROM unnest($2::text[], $3::text[], $4::text[]) AS named (list_id, name, grams)
         CROSS JOIN LATERAL (
               SELECT each.id
                 FROM (SELECT v.id, v.labels FROM option_values v
                        WHERE v.workspace_id = $1 AND v.list_id = named.list_id
                          AND v.grams @> named.grams::integer[]
                        UNION ALL
                       SELECT v.id, v.labels FROM option_values v
                        WHERE v.workspace_id = $1 AND v.list_id = named.list_id
                          AND v.grams IS NULL) AS each
                WHERE EXISTS (SELECT FROM jsonb_each_text(each.labels) AS l (language, label)
                               WHERE l.label = named.name)
                LIMIT $5) AS found
         ORDER BY found.id
        """,
        workspace_id,
        *(list(column) for column in zip(*sought, strict=True)),
        LABELLED_MAX + 1,
    )
    for list_id, name, option_id in rows:
        options.learn((list_id, name), option_id, is_label=True)


async def labels_of(
    conn: Conn, workspace_id: str, chosen: Mapping[str, Collection[str]]
) -> dict[str, dict[str, str]]:
    """List -> option -> label, of those of these options (list -> ids) that exist."""
    rows = await conn.fetch(
        """
        SELECT list_id, id, label FROM option_values
         WHERE workspace_id = $1 AND list_id = ANY($2::text[]) AND id = ANY($3::text[])
        """,
        workspace_id,
        list(chosen),
        sorted({option_id for option_ids in chosen.values() for option_id in option_ids}),
    )
    found: dict[str, dict[str, str]] = {}
    for list_id, option_id, label in rows:
        found.setdefault(list_id, {})[option_id] = label
    return found


async def names_of(
    conn: Conn,
    workspace_id: str,
    chosen: Mapping[str, Collection[str]],
    segment_ids: Sequence[str],
) -> dict[str, dict[str, dict[str, str]]]:
    """List -> option -> `alias` and `label`, of those of these options that exist.

    The label is that in the first of these languages that has one, else that of no language.
    """
    rows = await conn.fetch(
        """
        SELECT list_id, id, alias,
               coalesce((SELECT v.labels ->> language.id
                           FROM unnest($4::text[]) WITH ORDINALITY AS language (id, place)
                          WHERE v.labels ->> language.id IS NOT NULL
                          ORDER BY language.place
                          LIMIT 1), label) AS label
          FROM option_values v
         WHERE workspace_id = $1 AND list_id = ANY($2::text[]) AND id = ANY($3::text[])
        """,
        workspace_id,
        list(chosen),
        sorted({option_id for option_ids in chosen.values() for option_id in option_ids}),
        list(segment_ids),
    )
    found: dict[str, dict[str, dict[str, str]]] = {}
    for list_id, option_id, alias, label in rows:
        found.setdefault(list_id, {})[option_id] = {"alias": alias, "label": label}
    return found


async def options_in_order(
    conn: Conn,
    workspace_id: str,
    list_id: str,
    first: float | None,
    *,
    descending: bool,
    rows_max: int,
) -> tuple[list[tuple[float, list[str]]], bool]:
    """The next options of a list, from the position `first` on: each position with its options.

    At most so many options; those at the last position are left out if there may be more of them.
    Returns whether these are all, too.
    """
    sign, order = ("<=", "DESC") if descending else (">=", "ASC")
    start = "infinity" if descending else "-infinity"
    rows = await conn.fetch(
        f"""
        SELECT sort_order, id FROM option_values
         WHERE workspace_id = $1 AND list_id = $2
           AND sort_order {sign} $3::float8
         ORDER BY sort_order {order}
         LIMIT $4::bigint
        """,  # noqa: S608 - constants
        workspace_id,
        list_id,
        float(start) if first is None else first,
        rows_max,
    )
    found: dict[float, list[str]] = {}
    for position, option_id in rows:
        found.setdefault(position, []).append(option_id)
    is_all = len(rows) < rows_max
    if not is_all:
        found.popitem()
    return list(found.items()), is_all

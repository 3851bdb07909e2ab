"""The SQL that reads records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple

import asyncpg
import orjson

from records_service.model_objects.converted_values import values_now
from records_service.records.counts import Count
from records_service.workflow_copies.moves import state_in_sql
from records_service.writes.model import Record
from shared.database import Conn, paging
from shared.database.paging import Key, Order, Part, Place, Total

_COLUMNS = f"""
    r.workspace_id, r.id, r.schema_id, r.state_id, r.version,
    {values_now("r", "m.settling")} AS values,
    r.created_at, r.updated_at, r.created_by, r.updated_by, r.external_key
"""

_COLUMNS_OF_A_LIST: Final = """
    id, schema_id, state_id, version, xmin::text AS written_by,
    created_at, updated_at, created_by, updated_by, external_key"""
_DOCUMENT: Final = f"({values_now('records')})::text AS document"
_ID: Final = Key("id", str)
ORDERS: Final[Mapping[str, Order]] = {
    f"{'-' if descending else ''}{name}": tuple(
        key._replace(descending=descending) for key in order
    )
    for name, order in (
        ("createdAt", (Key("created_at", datetime), _ID)),
        ("updatedAt", (Key("updated_at", datetime), _ID)),
        ("id", (_ID,)),
    )
    for descending in (False, True)
}
"""The orders of a list, by their public names."""


class Listed(NamedTuple):
    """A record of a list, its values still in JSON: most are shown again as they were last time.

    `written_by` is the transaction that wrote the row: with the version it tells apart two records
    that had one id, one after the other. A tuple, because one is made for each record of a list: a
    frozen dataclass takes three times as long (0.63 instead of 0.19 us).
    """

    workspace_id: str
    id: str
    schema_id: str
    state_id: str | None
    version: int
    written_by: str
    row: asyncpg.Record

    def position(self, order: Order) -> list[Any]:
        """Where the record is in this order of a list."""
        return [self.row[key.column] for key in order]

    def record(self) -> Record:
        """The whole record."""
        values = orjson.loads(self.row["document"])
        known = {"workspace_id": self.workspace_id, "state_id": self.state_id, "values": values}
        return _record({**self.row, **known})


@dataclass(frozen=True, slots=True)
class Filters:
    """Which records a list has; None stands for no restriction."""

    schema_id: str | None = None
    state_ids: tuple[str, ...] | None = None
    updated_after: datetime | None = None
    ids: tuple[str, ...] | None = None
    external_key: str | None = None
    state_moves: str | None = None
    """What `moves_as_json` makes, where there are any and they decide what is found."""

    @property
    def only_schema(self) -> str | None:
        """The schema, if that is the only restriction."""
        return self.schema_id if self == Filters(self.schema_id) else None

    def source(self, workspace_id: str) -> tuple[str, list[Any]]:
        """What follows FROM, and its arguments."""
        where, arguments = ["workspace_id = $1"], [workspace_id]

        def add(condition: str, value: Any) -> None:
            arguments.append(value)
            where.append(condition.format(f"${len(arguments)}"))

        if self.schema_id is not None:
            add("schema_id = {}", self.schema_id)
        if self.state_ids is not None and self.state_moves is not None:
            arguments.append(self.state_moves)
            state = state_in_sql("", f"${len(arguments)}::text")
            add(f"{state} = ANY({{}}::text[])", self.state_ids)
        elif self.state_ids is not None and len(self.state_ids) == 1:
            # One state as the index has it: its records are in order there.
            add("state_id = {}", self.state_ids[0])
        elif self.state_ids is not None:
            add("state_id = ANY({}::text[])", self.state_ids)
        if self.updated_after is not None:
            add("updated_at > {}", self.updated_after)
        if self.ids is not None:
            add("id = ANY({}::text[])", self.ids)
        if self.external_key is not None:
            add("external_key = {}", self.external_key)
        return f"records WHERE {' AND '.join(where)}", arguments


@dataclass(frozen=True, slots=True)
class Listing:
    """Part of a list, and what it is to be shown by; all of one moment."""

    part: Part[Any]
    """Of `Listed`; of a page that is remembered only how many there are."""
    total: Total | None
    count: Count | None
    """Made for this page, and good for others."""
    model_version: int
    digest: bytes | None = None
    """Of the ids and versions of its rows."""
    last: tuple[Any, ...] | None = None
    """From where the next page goes on. Default: from the last row."""


async def get_many(
    conn: Conn, workspace_id: str, ids: Sequence[str]
) -> dict[str, tuple[Record, int]]:
    """The existing ones of these records, each with the model version of the workspace."""
    # PostgreSQL plans a statement with an array each time, which takes longer than reading one.
    one = len(ids) == 1
    rows = await conn.fetch(
        f"""
        SELECT {_COLUMNS}, m.version AS model_version
          FROM records r
          JOIN models m ON m.workspace_id = r.workspace_id
         WHERE r.workspace_id = $1 AND r.id = {"$2" if one else "ANY($2::text[])"}
        """,  # noqa: S608 - constants
        workspace_id,
        ids[0] if one else ids,
    )
    return {row["id"]: (_record(row), row["model_version"]) for row in rows}


async def page(
    conn: Conn,
    workspace_id: str,
    *,
    filters: Filters,
    place: Place,
    known: Count | None = None,
) -> Listing:
    """Records in the order of the list, how many there are in all, and the model's version.

    `known` is a count for these filters that may still hold.

    Raises `ValidationError` for a page of too many bytes whose limit was asked for; it is shorter
    where the limit is the default.
    """
    source, arguments = filters.source(workspace_id)
    head = _head(filters, place, source, arguments, known)
    wanted = _wanted(place, f"{_COLUMNS_OF_A_LIST}, {_DOCUMENT}", source, arguments)
    arguments.append(paging.PAGE_BYTES_MAX)
    order = ", ".join(f"p.{key.order}" for key in place.order)
    size = f"sum(octet_length(p.document)) OVER (ORDER BY {order})"
    rows = await conn.fetch(
        f"""
        WITH {wanted}
        SELECT p.id, p.schema_id, p.state_id, p.version, p.written_by, p.created_at, p.updated_at,
               p.created_by, p.updated_by, p.external_key,
               -- The first is always there, whatever its size: only there the sum is its own.
               CASE WHEN {size} <= ${len(arguments)}::bigint OR {size} = octet_length(p.document)
                    THEN p.document END AS document,
               head.counted, head.state, head.model_version
          FROM ({head}) head
          LEFT JOIN page p ON true
         ORDER BY {order}
        """,  # noqa: S608 - constants and the fixed fragments of this file, values are arguments
        *arguments,
    )
    first = rows[0]
    found = [
        Listed(
            workspace_id,
            row["id"],
            row["schema_id"],
            row["state_id"],
            row["version"],
            row["written_by"],
            row,
        )
        for row in rows
        if row["id"] is not None
    ]
    part = place.part(found, [one.row["document"] for one in found])
    total, count = await _total(conn, filters, place, part, first, source, arguments, known)
    return Listing(part, total, count, first["model_version"] or 0, _digest(found))


@dataclass(frozen=True, slots=True)
class Check:
    """The question whether a page is still the same: written once, asked many times."""

    filters: Filters
    place: Place
    source: str
    statement: str
    arguments: tuple[Any, ...]
    known_at: int | None
    """Which of the arguments is the state that the known count was made at."""


def check_of(workspace_id: str, filters: Filters, place: Place) -> Check:
    """The question for one page, which `unchanged` asks."""
    source, arguments = filters.source(workspace_id)
    before = len(arguments)
    head = _head(filters, place, source, arguments, None)
    known_at = before if len(arguments) > before else None
    wanted = _wanted(
        place, f"{place.columns}, version, xmin::text AS written_by", source, arguments
    )
    statement = f"""
        WITH {wanted}
        SELECT head.counted, head.state, head.model_version,
               (SELECT sha256(convert_to(
                           string_agg(id || ' ' || version || ' ' || written_by, ','), 'UTF8'))
                  FROM page) AS digest
          FROM ({head}) head
        """  # noqa: S608 - constants and the fixed fragments of this file, values are arguments
    return Check(filters, place, source, statement, tuple(arguments), known_at)


async def unchanged(
    conn: Conn, check: Check, *, known: Count | None, former: Listing
) -> Listing | None:
    """The page as it was read before, with the total of this moment; None if it has changed.

    It has not if the same records are on it, in the same versions, under the same data model.
    """
    arguments: Sequence[Any] = check.arguments
    at = check.known_at
    if at is not None and known is not None:
        arguments = (*arguments[:at], known.state, *arguments[at + 1 :])
    row = await conn.fetchrow(check.statement, *arguments)
    assert row is not None
    if (row["digest"], row["model_version"]) != (former.digest, former.model_version):
        return None
    total, count = await _total(
        conn, check.filters, check.place, former.part, row, check.source, arguments, known
    )
    if total == former.total and count is None:
        return former
    return replace(former, total=total, count=count)


def _wanted(place: Place, columns: str, source: str, arguments: list[Any]) -> str:
    """Parts of WITH, of which the last is `page`: the rows of the page, and one more."""
    start, begins = _beginning(place, source, arguments)
    arguments.append(place.rows)
    return f"""{start}page AS MATERIALIZED (
            SELECT r.*
              FROM {"start CROSS JOIN LATERAL" if start else ""} (
                   SELECT {columns}
                     FROM {source} {begins}
                    ORDER BY {place.order_by}
                    LIMIT ${len(arguments)}::bigint
             ) r
        )"""  # noqa: S608


def _digest(found: Sequence[Listed]) -> bytes | None:
    """As `unchanged` computes it."""
    rows = ",".join(f"{one.id} {one.version} {one.written_by}" for one in found)
    return sha256(rows.encode()).digest() if found else None


def _head(
    filters: Filters, place: Place, source: str, arguments: list[Any], known: Count | None
) -> str:
    """A SELECT of one row: how many records there are, and the version of the model."""
    model = "(SELECT version FROM models WHERE workspace_id = $1) AS model_version"
    if filters == Filters() and place.counts:
        # The counter of the record limit counts them all, so nobody needs to.
        return f"""
            SELECT coalesce(sum(records), 0)::bigint AS counted, NULL::bigint AS state, {model}
              FROM usage WHERE workspace_id = $1"""  # noqa: S608
    if filters.only_schema is None or not place.counts:
        return f"SELECT ({place.count(source)}) AS counted, NULL::bigint AS state, {model}"
    arguments.append(None if known is None else known.state)
    return f"""
        SELECT CASE WHEN u.state = ${len(arguments)}::bigint THEN NULL
                    ELSE ({place.count(source)}) END AS counted,
               u.state, {model}
          FROM (SELECT hashtextextended(
                           string_agg(stripe || ':' || xmin::text, ',' ORDER BY stripe), 0) AS state
                  FROM usage WHERE workspace_id = $1) u"""  # noqa: S608


def _beginning(place: Place, source: str, arguments: list[Any]) -> tuple[str, str]:
    """A part of WITH that finds where the page begins, and the condition to begin there."""
    sign = "<" if place.order[0].descending else ">"
    if place.after is not None:
        arguments += place.after
        names = (f"${n + 1}" for n in range(len(arguments) - len(place.after), len(arguments)))
        return "", f"AND ({place.columns}) {sign} ({', '.join(names)})"
    if place.offset == 0:
        return "", ""
    # The documents of the rows before a page are not looked at: where it begins is found in an
    # index. The first page begins at the beginning.
    arguments.append(place.offset)
    start = f"""start AS MATERIALIZED (
            SELECT {place.columns} FROM {source} ORDER BY {place.order_by}
            OFFSET ${len(arguments)}::bigint LIMIT 1
        ), """  # noqa: S608
    position = ", ".join(f"start.{key.column}" for key in place.order)
    return start, f"AND ({place.columns}) {sign}= ({position})"


async def _total(
    conn: Conn,
    filters: Filters,
    place: Place,
    part: Part[Listed],
    first: asyncpg.Record,
    source: str,
    arguments: Sequence[Any],
    known: Count | None,
) -> tuple[Total | None, Count | None]:
    """The total, and what was counted for it, if that is good for other pages."""
    counted, state = first["counted"], first["state"]
    if filters == Filters():
        return None if counted is None else Total(counted), None
    if counted is None and known is not None and place.counts:
        return place.total_of(part, known.counted, known.estimate), None
    estimate = 0 if known is None else known.estimate
    if estimate == 0 and not place.is_exact(part, counted):
        estimate = await paging.estimated(conn, source, arguments)
    total = place.total_of(part, counted, estimate)
    if state is None or (counted > paging.COUNTED_MAX and estimate == 0):
        return total, None
    return total, Count(state, counted, estimate)


async def count_all(conn: Conn, workspace_id: str) -> int:
    """How many records the workspace has, by the counter of the record limit."""
    return int(
        await conn.fetchval(
            "SELECT coalesce(sum(records), 0)::bigint FROM usage WHERE workspace_id = $1",
            workspace_id,
        )
    )


async def schema_ids_of(conn: Conn, workspace_id: str, record_ids: Sequence[str]) -> dict[str, str]:
    """Record id -> schema id, of those that exist."""
    rows = await conn.fetch(
        "SELECT id, schema_id FROM records WHERE workspace_id = $1 AND id = ANY($2::text[])",
        workspace_id,
        list(record_ids),
    )
    return {row["id"]: row["schema_id"] for row in rows}


def _record(row: Any) -> Record:
    return Record(
        workspace_id=row["workspace_id"],
        id=row["id"],
        schema_id=row["schema_id"],
        state_id=row["state_id"],
        version=row["version"],
        values=row["values"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        created_by=row["created_by"],
        updated_by=row["updated_by"],
        external_key=row["external_key"],
    )

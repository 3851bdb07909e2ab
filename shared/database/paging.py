"""Pages of lists: where they begin, and how large they may be.

A page begins at an offset or after the last row of another page (`Place`): then it costs the same
wherever it is, and shows no row twice and leaves none out while others come and go.

Five hundred records of ten megabytes are too many for one page. The statement that reads a page
adds up what it found and leaves out the documents beyond the bound, so they never reach this
process; the first is always sent. A client that named a `limit` is refused, with the number that
would fit; one that did not gets a shorter page, whose `limit` says so.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

import orjson
from aiohttp import web
from pydantic import Field

from shared.database.connection import Conn
from shared.errors import ValidationError
from shared.http import Page, cursors, json_response
from shared.http.cursors import Kind
from shared.http.messages import shown
from shared.http.shapes import Shape

R = TypeVar("R")

COUNTED_MAX: Final = 10_000
"""Up to so many, the total of a list is exact; beyond it PostgreSQL's statistics tell it."""

PAGE_BYTES_MAX: Final = 16 << 20
_PARAMETER: Final = re.compile(r"\$(\d+)")
_NO_FILTERS: Final = frozenset({"offset", "limit", "cursor", "total"})


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


class PageQuery(Page):
    """Which part of a list is asked for: by offset, or from where another page ended."""

    cursor: str | None = None
    """Where the page begins: the `nextCursor` of the page before it. The other parameters must be
    the same as for that page, except `limit` and `total`. Cannot be combined with `offset`."""
    total: Literal["none"] | None = None
    """`none` leaves the total out of the answer, which makes it faster."""


class Paged(Shape):
    """One page of a list."""

    items: list[Any]
    """The items, of the type that the subclass names."""
    total: int = Field(default=0, json_schema_extra=_without_default)
    """The total number of items: exact up to 10,000. Left out with `total=none`."""
    total_is_estimate: bool = Field(
        default=False, alias="totalIsEstimate", json_schema_extra=_without_default
    )
    """True if `total` is an estimate; otherwise left out."""
    offset: int
    """The number of items before the page. After a cursor: the number of items on the pages before
    it."""
    limit: int
    """The maximum number of items in `items`."""
    next_cursor: str | None = Field(alias="nextCursor")
    """The `cursor` of the next page; null at the end of the list. Reading on by cursor takes the
    same time for every page, and shows no item twice and leaves none out if others are added or
    removed meanwhile."""


class Key(NamedTuple):
    """A column by which a list is sorted. Rows without a value come last in both directions.

    The last key of an order makes it unique. An index in the same order makes it fast: for a
    nullable column that is descending, an ascending one with NULLS FIRST, read backwards.
    """

    column: str
    kind: Kind
    descending: bool = False
    nullable: bool = False

    @property
    def order(self) -> str:
        """The item of an ORDER BY."""
        if not self.descending:
            return self.column
        return f"{self.column} DESC NULLS LAST" if self.nullable else f"{self.column} DESC"


class Total(NamedTuple):
    """How many items a list has."""

    items: int
    is_estimate: bool = False


Order: TypeAlias = tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Part(Generic[R]):
    """The rows of one page, the limit that it has, and whether more rows follow."""

    rows: Sequence[R]
    limit: int
    has_more: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of a list begins and what is asked about it.

    A handler makes it, a store reads by it, and the answer is written with it:

        asked = read_query(request, ThingFilter)  # a PageQuery; its own fields are the filters
        place = place_of(context.workspace_id, request.path, asked, ORDER)
        things = await app[LISTS].read(db, workspace_id, partial(store.page, place=place, ...))
        return page_response(place, items, things.part, things.total, last=(last["at"], last["id"]))

        # store.page
        arguments = [workspace_id]
        source = "things WHERE workspace_id = $1"
        wanted = place.select(place.columns, source, arguments)  # ids, one more than the page has
        rows = await conn.fetch(
            f"WITH wanted AS MATERIALIZED ({wanted}) SELECT ..., ({place.count(source)}) AS counted"
            ...,
            *arguments,
        )
        part = place.part(rows)
        total = await place.total(conn, part, counted, source, arguments)

    ORDER is a tuple of `Key`; `last` is the position of the last item in it. For a POST the body
    can be the `PageQuery`. See history/store.py for a whole list.
    """

    order: Order
    offset: int
    limit: int
    limit_is_asked: bool
    after: tuple[Any, ...] | None
    """The position of the row before the page, if that is given by a cursor and not by `offset`."""
    counts: bool
    """Whether the total is wanted."""
    query: bytes

    @property
    def rows(self) -> int:
        """How many rows to read: one more than the page has tells whether others follow."""
        return self.limit + 1

    @property
    def columns(self) -> str:
        """The columns of the order, of which the last tells the rows apart."""
        return ", ".join(key.column for key in self.order)

    @property
    def order_by(self) -> str:
        """The items of ORDER BY."""
        return ", ".join(key.order for key in self.order)

    def select(self, columns: str, source: str, arguments: list[Any]) -> str:
        """A SELECT of the rows of the page and one more, in order; its arguments are appended.

        `columns` contain those of the order under their own names. `source` is what follows FROM,
        and ends within its WHERE. All texts are constants of the caller.
        """
        arguments.append(self.rows)
        limit = f"LIMIT ${len(arguments)}::bigint"
        if self.after is None:
            arguments.append(self.offset)
            return (
                f"SELECT {columns} FROM {source}"  # noqa: S608
                f" ORDER BY {self.order_by} OFFSET ${len(arguments)}::bigint {limit}"
            )
        # Each condition is one range of the index.
        end = f"ORDER BY {self.order_by} {limit}"
        parts = [
            f"SELECT {columns} FROM {source} AND {condition} {end}"  # noqa: S608
            for condition in self._later(arguments)
        ]
        if len(parts) == 1:
            return parts[0]
        return f"SELECT {columns} FROM (({') UNION ALL ('.join(parts)})) AS later {end}"  # noqa: S608

    def _later(self, arguments: list[Any]) -> list[str]:
        """Conditions for the rows after the position, no row in two of them, each one range."""
        names = []
        for value in self.after or ():
            if value is not None:
                arguments.append(value)
            names.append(f"${len(arguments)}")
        simple = not any(key.nullable for key in self.order)
        if simple and len({key.descending for key in self.order}) == 1:
            sign = "<" if self.order[0].descending else ">"
            return [f"({self.columns}) {sign} ({', '.join(names)})"]
        found: list[str] = []
        same = ""
        for key, value, name in zip(self.order, self.after or (), names, strict=True):
            if value is None:
                same += f"{key.column} IS NULL AND "
                continue
            found.append(f"{same}{key.column} {'<' if key.descending else '>'} {name}")
            if key.nullable:
                found.append(f"{same}{key.column} IS NULL")
            same += f"{key.column} = {name} AND "
        return found

    def count(self, source: str) -> str:
        """A SELECT of how many rows there are, as far as that is wanted and told exactly."""
        if not self.counts:
            return "SELECT NULL::bigint"
        return f"SELECT count(*) FROM (SELECT 1 FROM {source} LIMIT {COUNTED_MAX + 1}) AS found"  # noqa: S608

    def part(self, rows: Sequence[R], documents: Sequence[Any] | None = None) -> Part[R]:
        """The page of what `select` found.

        `documents`, if pages have a limit in bytes, are those of the rows: None where they exceed
        it. Raises `ValidationError` as `fitting` does.
        """
        has_more, limit = len(rows) > self.limit, self.limit
        rows = rows[: self.limit]
        if documents is not None:
            fit = fitting(documents[: self.limit], limit_is_asked=self.limit_is_asked)
            if fit < len(rows):
                rows, limit, has_more = rows[:fit], fit, True
        return Part(rows, limit, has_more)

    async def total(
        self,
        conn: Conn,
        part: Part[Any],
        counted: int | None,
        source: str,
        arguments: Sequence[Any],
    ) -> Total | None:
        """How many rows there are; beyond those that `count` counts, PostgreSQL's estimate.

        The first of the arguments are those of `source`.
        """
        if self.is_exact(part, counted):
            return self.total_of(part, counted)
        return self.total_of(part, counted, await estimated(conn, source, arguments))

    def is_exact(self, part: Part[Any], counted: int | None) -> bool:
        """Whether the total is known without an estimate, or not wanted."""
        return counted is None or counted <= COUNTED_MAX or self._is_end(part)

    def total_of(self, part: Part[Any], counted: int | None, estimate: int = 0) -> Total | None:
        """The total, from what was counted and, where `is_exact` is false, an estimate."""
        if counted is None or counted <= COUNTED_MAX:
            return None if counted is None else Total(counted)
        here = self.offset + len(part.rows)
        if self._is_end(part):
            return Total(here)
        return Total(max(estimate, COUNTED_MAX + 1, here + part.has_more), True)

    def _is_end(self, part: Part[Any]) -> bool:
        """Whether the last item is on this page, and it is known how many come before."""
        return self.after is None and bool(part.rows) and not part.has_more

    def next_cursor(self, part: Part[Any], last: Sequence[Any]) -> str | None:
        """The cursor of the next page, or None at the end; `last` is the last row's position."""
        if not part.has_more:
            return None
        return cursors.encode(self.query, self.offset + len(part.rows), last)


def place_of(
    workspace_id: str,
    path: str,
    asked: PageQuery,
    order: Order,
    *,
    besides: Collection[str] = (),
) -> Place:
    """Where the page that is asked for begins.

    All fields of `asked` but those of `PageQuery` and the ones `besides` belong to the query, so a
    cursor is good for the same ones only. Raises `ValidationError` for a cursor that is not one of
    this list, and for a cursor together with `offset`.
    """
    filters = asked.model_dump(mode="json", exclude={*_NO_FILTERS, *besides})
    order_by = [(key.column, key.descending) for key in order]
    query = orjson.dumps([workspace_id, path, filters, order_by], option=orjson.OPT_SORT_KEYS)
    offset, after = asked.offset, None
    if asked.cursor is not None:
        if "offset" in asked.model_fields_set:
            raise ValidationError.at(
                "/offset", "Field 'offset' cannot be combined with 'cursor': expected one of them"
            )
        try:
            offset, after = cursors.decode(query, asked.cursor, [key.kind for key in order])
        except cursors.NotACursor:
            raise ValidationError.at(
                "/cursor",
                "Field 'cursor' must be the 'nextCursor' of a page of this list that was asked for"
                f" with the same filters and sort, got {shown(asked.cursor)}",
            ) from None
        if any(value is None and not key.nullable for key, value in zip(order, after, strict=True)):
            raise ValidationError.at("/cursor", "Field 'cursor' is damaged")
    return Place(
        order=order,
        offset=offset,
        limit=asked.limit,
        limit_is_asked=asked.limit_is_asked,
        after=after,
        counts=asked.total is None,
        query=query,
    )


async def estimated(conn: Conn, source: str, arguments: Sequence[Any]) -> int:
    """How many rows PostgreSQL expects; the first of the arguments are those of `source`."""
    plan = await conn.fetchval(
        f"EXPLAIN (FORMAT JSON) SELECT 1 FROM {source}",  # noqa: S608
        *arguments[: max(int(number) for number in _PARAMETER.findall(source))],
    )
    return planned_rows(plan)


def planned_rows(plan: Any) -> int:
    """How many rows PostgreSQL expects, from an EXPLAIN in JSON, as text or read.

    On Citus, the plan of the node that has the workspace tells it.
    """
    found = orjson.loads(plan) if isinstance(plan, str) else plan
    while isinstance(found, list):
        found = found[0]
    root = found["Plan"]
    job = root.get("Distributed Query", {}).get("Job")
    if job:
        return planned_rows(job["Tasks"][0]["Remote Plan"])
    return int(root["Plan Rows"])


def page_response(
    place: Place,
    items: Any,
    part: Part[Any],
    total: Total | None,
    *,
    last: Sequence[Any] = (),
    more: Mapping[str, Any] | None = None,
) -> web.Response:
    """The answer in the shape of `Paged`; `last` is the position of the last row of the page.

    `more` are fields that the list has besides.
    """
    answer: dict[str, Any] = {"items": items}
    if total is not None:
        answer["total"] = total.items
        if total.is_estimate:
            answer["totalIsEstimate"] = True
    answer["offset"] = place.offset
    answer["limit"] = part.limit
    answer["nextCursor"] = place.next_cursor(part, last)
    return json_response(answer if more is None else {**answer, **more})


def fitting(documents: Sequence[Any], *, limit_is_asked: bool) -> int:
    """How many documents of the page fit; those from the first that was left out (None) do not.

    One always fits, however large it is: nobody could get past it otherwise.

    Raises `ValidationError` where the client named the limit: a shorter page than the one asked for
    would be taken for the end of the list. Where it did not, the answer's `limit` says how long the
    page is, and the next one begins after that.
    """
    if None not in documents:
        return len(documents)
    fit = documents.index(None)
    if limit_is_asked:
        raise ValidationError.at(
            "/limit",
            f"Field 'limit' asks for more than {PAGE_BYTES_MAX} bytes at this offset: expected"
            f" at most {fit}, got {len(documents)}",
        )
    return fit

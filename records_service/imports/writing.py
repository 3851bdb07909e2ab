"""Writes rows, with the categories that they name: a row is written with both, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from records_service.bulk.judging import failed
from records_service.bulk.model import BY_ID, Options, Result
from records_service.bulk.model import BulkOutcome as Outcome
from records_service.bulk.work import STALE, make_current, transaction
from records_service.catalogs.assignments import sets
from records_service.catalogs.assignments.sets import Locked, NotLocked
from records_service.catalogs.categories.name_store import Placed
from records_service.catalogs.categories.names import named
from records_service.context import Context
from records_service.imports import variant_rows
from records_service.imports.category_cells import POINTER, UnusableCategories
from records_service.imports.rows import CellError, ReadRow
from records_service.writes.create_batching import WRITE_SLOTS
from shared.database import Conn
from shared.errors import ApiError, PermissionDenied, ServiceUnavailable, ValidationError, Violation
from shared.messaging import outbox

K = TypeVar("K")
T = TypeVar("T")

ROWS_AT_ONCE: Final = 500
CATEGORIES_AT_ONCE: Final = 2_000
"""That the rows of a group name together; one row may name more. Each is an event, some 10 us of
the event loop and 100 of PostgreSQL, which others wait for."""
RESTARTS_MAX: Final = 5
_WRITTEN: Final = frozenset({Outcome.CREATED, Outcome.UPDATED, Outcome.UNCHANGED})

Sized = tuple[ReadRow, int]
"""A row, and its size in bytes."""


class _Refused(Exception):
    """Undoes a group of rows of which some may not be in the categories that they name."""

    def __init__(self, rows: Mapping[int, ApiError]) -> None:
        self.rows = rows


async def write_rows(
    context: Context,
    rows: Sequence[Sized],
    options: Options,
    conn: Conn | None = None,
    *,
    must_exist: bool = False,
) -> list[Result]:
    """Write rows of records and of variants; one result for each, in their order.

    With `conn`, all is in the caller's transaction, and all of `STALE` may be raised. Raises what
    `bulk.write_rows` raises.
    """
    if not any(row.categories for row, _ in rows):
        return await variant_rows.write_rows(context, rows, options, conn, must_exist=must_exist)
    if conn is not None:
        return await _with_categories(context, conn, rows, options, must_exist=must_exist)

    results: list[Result] = []

    async def group() -> list[Result]:
        async with (
            context.app[WRITE_SLOTS].of(context.workspace_id),
            transaction(context) as own,
        ):
            some = rows[len(results) : len(results) + ROWS_AT_ONCE]
            some = some[: rows_of_group([row for row, _ in some])]
            return await _with_categories(context, own, some, options, must_exist=must_exist)

    while len(results) < len(rows):
        done = await until_current(context, group)
        behind = len(results)
        results += (replace(one, index=behind + one.index) for one in done)
        outbox.wake(context.app)
    return results


def rows_of_group(rows: Sequence[ReadRow]) -> int:
    """How many of these are written together, at least one."""
    named = 0
    for index, row in enumerate(rows):
        named += 0 if row.categories is None else len(row.categories.names)
        if index and named > CATEGORIES_AT_ONCE:
            return index
    return len(rows)


async def until_current(
    context: Context, attempt: Callable[[], Awaitable[T]], pause_s: float = 0.05
) -> T:
    """What the first attempt returns that is not judged by what is outdated.

    Raises `ServiceUnavailable` when others get in between again and again.
    """
    for _ in range(RESTARTS_MAX):
        try:
            return await attempt()
        except STALE as stale:
            await make_current(context, stale)
            await asyncio.sleep(pause_s)
    raise ServiceUnavailable("The records or the data model are being changed at the moment")


async def _with_categories(
    context: Context,
    conn: Conn,
    rows: Sequence[Sized],
    options: Options,
    *,
    must_exist: bool,
) -> list[Result]:
    """Categories are locked before records, as with single calls; see docs/adr/0066.

    Which ones, and which rows may not change theirs, is known for certain by the records, so after
    these were written. If more is known then, the group is undone and written again.
    """
    wanted, refused = await _meant(context, conn, rows)
    needed = await _likely(context, conn, rows, options, wanted)
    while True:
        try:
            async with conn.transaction():
                locked = await sets.lock(context, conn, needed)
                good = [
                    (_refusing(row), size) if index in refused else (row, size)
                    for index, (row, size) in enumerate(rows)
                ]
                results = await variant_rows.write_rows(
                    context, good, options, conn, must_exist=must_exist
                )
                results = await _assigned(context, conn, results, wanted, locked)
        except _Refused as found:
            refused |= found.rows
            continue
        except NotLocked as found:
            needed |= found.category_ids
            continue
        return [
            failed(one.index, refused[index], rows[index][0].id) if index in refused else one
            for index, one in enumerate(results)
        ]


async def _likely(
    context: Context,
    conn: Conn,
    rows: Sequence[Sized],
    options: Options,
    wanted: Mapping[int, Sequence[Placed]],
) -> set[str]:
    """The categories that these rows will change, as far as their records are known by now.

    Of rows that find their records by another value, those that they name.
    """
    needed = {
        placed.id
        for index, all_placed in wanted.items()
        if rows[index][0].id is None or options.match != BY_ID
        for placed in all_placed
    }
    known = {
        record_id: wanted[index]
        for index in wanted
        if (record_id := rows[index][0].id) is not None and options.match == BY_ID
    }
    for part in _parts(known, lambda record_id: len(known[record_id])):
        needed |= await sets.to_change(context, conn, {each: known[each] for each in part})
    return needed


def _refusing(row: ReadRow) -> ReadRow:
    """In the place of a row that is refused."""
    return ReadRow(id=row.id, errors=[CellError("", ValidationError.code)])


async def _meant(
    context: Context, conn: Conn, rows: Sequence[Sized]
) -> tuple[dict[int, Sequence[Placed]], dict[int, ApiError]]:
    """The categories that rows name, by the place of the row, and rows that do not name them."""
    asking = {
        index: row.categories
        for index, (row, _) in enumerate(rows)
        if row.categories is not None and not row.errors
    }
    meant: dict[int, Sequence[Placed]] = {}
    refused: dict[int, ApiError] = {}
    for part in _parts(asking, lambda index: len(asking[index].names)):
        names = {name for index in part for name in asking[index].names}
        found = await named(conn, context.workspace_id, names, context.role) if names else {}
        for index in part:
            try:
                meant[index] = asking[index].placed(found)
            except UnusableCategories as fault:
                refused[index] = ValidationError.at(POINTER, str(fault))
    return meant, refused


def _parts(items: Iterable[K], size_of: Callable[[K], int]) -> Iterator[list[K]]:
    """The items in their order, as many at a time as name categories enough for a group."""
    part: list[K] = []
    size = 0
    for one in items:
        size += size_of(one)
        if part and size > CATEGORIES_AT_ONCE:
            yield part
            part, size = [], size_of(one)
        part.append(one)
    if part:
        yield part


async def _assigned(
    context: Context,
    conn: Conn,
    results: list[Result],
    wanted: Mapping[int, Sequence[Placed]],
    locked: Locked,
) -> list[Result]:
    """The results, once each record is in its categories; rows of one record after each other.

    Raises `_Refused` or `NotLocked`.
    """
    refused: dict[int, ApiError] = {}
    for places in _rounds(results, wanted):
        of_records = {record_id: wanted[index] for record_id, index in places.items()}
        outcome = await sets.set_categories(context, conn, of_records, locked)
        for record_id, error in outcome.refused.items():
            violation = Violation(POINTER, error.message)
            refused[places[record_id]] = PermissionDenied(error.message, violations=[violation])
        for record_id in outcome.changed:
            index = places[record_id]
            if results[index].outcome is Outcome.UNCHANGED:
                results[index] = replace(results[index], outcome=Outcome.UPDATED)
    if refused:
        raise _Refused(refused)
    return results


def _rounds(
    results: Sequence[Result], wanted: Mapping[int, Sequence[Placed]]
) -> Iterator[dict[str, int]]:
    """Record -> place of the row, so that each row of a record comes in a later round."""
    rest = [
        (results[index].id, index) for index in sorted(wanted) if results[index].outcome in _WRITTEN
    ]
    while rest:
        places: dict[str, int] = {}
        later: list[tuple[str | None, int]] = []
        for record_id, index in rest:
            if record_id is None or record_id in places:
                later.append((record_id, index))
            else:
                places[record_id] = index
        if not places:
            return
        for part in _parts(places, lambda record_id: len(wanted[places[record_id]])):  # noqa: B023
            yield {record_id: places[record_id] for record_id in part}
        rest = later

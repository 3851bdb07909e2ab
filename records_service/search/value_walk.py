# ruff: noqa: S608 - constants and numbers of parameters
"""Walks in the order of options, or of true and false, to records that a condition is met by.

Each value is a term of the index, so no row is stored for such an order. One value after the other
is walked to, in the order of the page: what many records have in the order of creation, what few
have as a set. A sample tells which of both. Then come the records without a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from records_service.option_lists.lookup_store import options_in_order
from records_service.search import index_walks
from records_service.search.criteria import Searched
from records_service.search.index_joins import Sql
from records_service.search.index_measure import having
from records_service.search.index_query import RECORD, Query, position_of
from records_service.search.index_sources import TERMS, Source, Terms
from records_service.search.index_terms import has_any, is_single
from records_service.search.index_walks import Walk, in_vain, page_of, without_value
from records_service.search.sql import Arguments, seen, sort_key
from shared.database import Conn
from shared.database.paging import Key, Place

FREQUENT: Final = 4_000
"""What so many records have is walked to, rather than read as a set: both take some 10 ms then, in
a workspace of a million."""
_FEW: Final = 1_000
"""Values that so many records have together are one set."""
_VALUES_AT_ONCE: Final = 64
"""Values of one set."""
_SETS_MAX: Final = 64
"""Sets and walks of one statement; a first attempt has eight."""
_PROBED: Final = (4, 60, 448)
"""How many values are counted in a sample, as long as those before are not enough."""


Value: TypeAlias = tuple[Any, tuple[int, ...]]
"""A position in the order, and the terms of those that have it."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some values, one after the other."""

    values: Sequence[Value]
    is_walked: bool
    is_short: bool
    """Whether it is a set of few records."""


async def walk_by_value(
    conn: Conn,
    place: Place,
    query: Query,
    target: Searched,
    met: Source,
    lacking: Source,
    *,
    is_thorough: bool,
) -> Walk | None:
    """The page; None where too many values would have to be looked for.

    `met` is a source of all that meet the condition, `lacking` one of the records without a value;
    everything if they are many.
    `is_thorough`: read all that is looked at as sets, because a walk was in vain.
    """
    [key] = query.keys
    after = place.after
    values, has_all = await _values(conn, query, target, key, after, is_thorough=is_thorough)
    needed = place.rows if place.after is not None else place.offset + place.rows
    pieces, has_these = await _pieces(conn, query, values, after, needed, is_thorough=is_thorough)
    if not pieces and not has_all:
        return None
    arguments = Arguments(query.arguments)
    ctes, found, walked = [], "0", ["0"]
    for number, piece in enumerate(pieces):
        position = None
        if after is not None and piece.values[0][0] == after[0]:
            position = after[1:]
        short = f"{found} < {needed}"
        one, rows = _piece(query, target, piece, met, position, short, needed, arguments)
        ctes.append(f"part_{number} (id, created_at, {key.column}) AS MATERIALIZED ({one})")
        before, found = found, f"{found} + (SELECT count(*) FROM part_{number})"
        if rows is not None:
            walked.append(
                f"CASE WHEN {before} < {needed} THEN {in_vain(found, needed, rows)} ELSE 0 END"
            )
    if has_all and has_these:
        lasts, walked_lasts = without_value(
            place,
            query,
            lacking,
            needed,
            arguments,
            has_value=_has_value(query, target),
            found=found,
        )
        walked.append(walked_lasts)
    else:
        lasts = "SELECT NULL::text, NULL::timestamptz, NULL::int WHERE false"
        walked.append(f"CASE WHEN {found} < {needed} THEN {index_walks.WALKED_MAX} ELSE 0 END")
    kind = _kind(key)
    ctes.append(f"lasts (id, created_at, {key.column}) AS MATERIALIZED ({lasts})")
    every = " UNION ALL ".join(
        [
            *(f"SELECT * FROM part_{number}" for number in range(len(pieces))),
            f"SELECT id, created_at, {key.column}::text::{kind} FROM lasts",
        ]
    )
    wanted = page_of(place).select(
        f"id, created_at, {key.column}", f"({every}) AS every WHERE true", arguments
    )
    ctes.append(f"wanted AS MATERIALIZED ({wanted})")
    return Walk(", ".join(ctes), arguments, f"greatest({', '.join(walked)})")


async def _values(
    conn: Conn,
    query: Query,
    target: Searched,
    key: Key,
    after: Sequence[Any] | None,
    *,
    is_thorough: bool,
) -> tuple[list[Value], bool]:
    """The values from the position on, in the order of the page, and whether these are all."""
    if after is not None and after[0] is None:
        return [], True
    first = None if after is None else after[0]
    if target.large_list is not None:
        rows_max = sum(_PROBED if is_thorough else _PROBED[:2])
        found, is_all = await options_in_order(
            conn,
            query.arguments[0],
            target.large_list,
            first,
            descending=key.descending,
            rows_max=rows_max,
        )
        values = [
            (position, tuple(sorted(query.index.option_term(target, each) for each in ids)))
            for position, ids in found
        ]
        return values, is_all
    known: list[Value] = [
        (position, (term,)) for position, term in query.index.positions(target) or ()
    ]
    if key.descending:
        known.reverse()
    if first is None:
        return known, True
    return [each for each in known if _is_from(each[0], first, key)], True


def _is_from(position: Any, first: Any, key: Key) -> bool:
    return bool(position <= first if key.descending else position >= first)


async def _pieces(
    conn: Conn,
    query: Query,
    values: Sequence[Value],
    after: tuple[Any, ...] | None,
    needed: int,
    *,
    is_thorough: bool,
) -> tuple[list[_Piece], bool]:
    """The pieces in which a page is to be looked for, and whether they have all of the values."""
    pieces: list[_Piece] = []
    rows = run_rows = first = 0
    pieces_max = _SETS_MAX if is_thorough else _SETS_MAX // 8
    # A condition may leave out most of what has a value.
    enough = 20 * needed
    for at_once in _PROBED:
        some = values[first : first + at_once]
        first += len(some)
        if not some:
            break
        found = await having(conn, query.arguments[0], [terms for _, terms in some])
        for value, records in zip(some, found, strict=True):
            if rows > enough and not is_thorough:
                return pieces, False
            rows += records
            # The rows of the value of a cursor are a part of those of the value.
            is_frequent = records >= FREQUENT
            is_alone = after is not None and value[0] == after[0]
            joins = (
                pieces
                and not (is_frequent or is_alone)
                and run_rows + records < _FEW
                and len(pieces[-1].values) < _VALUES_AT_ONCE
            )
            if joins:
                pieces[-1] = _Piece([*pieces[-1].values, value], is_walked=False, is_short=True)
                run_rows += records
                continue
            if len(pieces) == pieces_max:
                return pieces, False
            is_walked = is_frequent and not is_thorough
            pieces.append(_Piece([value], is_walked=is_walked, is_short=not is_frequent))
            run_rows = _FEW if is_frequent or is_alone else records
    return pieces, first == len(values)


def _piece(
    query: Query,
    target: Searched,
    piece: _Piece,
    met: Source,
    position: Sequence[Any] | None,
    short: str,
    needed: int,
    arguments: Arguments,
) -> tuple[str, str | None]:
    """A SELECT of those that have one of the values, and of the rows at which a walk looks.

    They come after the position; nothing is read unless `short` is true.
    """
    [key] = query.keys
    [sort] = query.sort
    terms = tuple(sorted(term for _, each in piece.values for term in each))
    arguments.reads.clear()
    conditions = [seen(target.sight, arguments, "s."), query.condition.sql(arguments)]
    kind = _kind(key)
    several = [each for each, _ in piece.values]
    value = arguments.name(several[0], kind) if len(several) == 1 else None
    if not is_single(target) or (target.large_list is not None and value is None):
        # By the first of several values, which the index does not tell.
        arguments.reads.add("records")
        first = sort_key(sort, key.column, arguments)[1]
        conditions.append(f"{first} = ANY({arguments.name(several, f'{kind}[]')})")
        value = value or first
    if value is None:
        value = position_of(query.index, target, arguments)
    later = ""
    if position is not None:
        at, last = position
        later = (
            f" AND (s.created_at, s.record_id) > ({arguments.name(at, 'timestamptz')},"
            f" {arguments.name(last, 'text')})"
        )
    rows = None
    if piece.is_walked:
        rows = (
            f"SELECT s.record_id, s.created_at, s.schema_id, s.state_id, {TERMS}"
            f" FROM search_records s WHERE s.workspace_id = $1 AND {short}{later}"
            f" ORDER BY s.created_at, s.record_id LIMIT {index_walks.WALKED_MAX}"
        )
        source = f"({rows}) AS s"
        conditions.append(has_any(terms)(arguments))
    else:
        groups = (terms, *(met.groups if isinstance(met, Terms) else ()))
        rows_of = Terms(groups, is_short=piece.is_short).rows(arguments, with_terms=True)
        source = f"({rows_of}) AS s"
        conditions.append(f"{short}{later}")
    record = RECORD if "records" in arguments.reads else ""
    checked = " AND ".join(each for each in conditions if each != "true")
    order = "s.created_at, s.record_id"
    if len(piece.values) > 1:
        order = f"{key.order}, {order}"
    select = (
        f"SELECT s.record_id, s.created_at, {value} AS {key.column} FROM {source}{record}"
        f" WHERE {checked} ORDER BY {order} LIMIT {needed}"
    )
    return select, rows


def _has_value(query: Query, target: Searched) -> Sql:
    """The condition that a row `s` has and shows a value."""
    none = query.index.lacks(target)

    def has_value(arguments: Arguments) -> str:
        return f"{seen(target.sight, arguments, 's.')} AND NOT {none(arguments)}"

    return has_value


def _kind(key: Key) -> str:
    if key.kind is bool:
        return "bool"
    return "float8" if key.kind is float else "int"

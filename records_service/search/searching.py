"""Runs a search as its caller may: the page, and the data model at its moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from aiohttp import web

from records_service.blueprint.blueprint import BLUEPRINTS, Blueprint
from records_service.context import Context
from records_service.lists import LISTS
from records_service.option_lists.lookup import Options
from records_service.option_lists.lookup_store import labels_of, look_up
from records_service.records.listing import render_listed
from records_service.records.projection import Projection
from records_service.records.store import ORDERS, Listing
from records_service.search import index_facets, store, text_store
from records_service.search.criteria import Criteria, Reader, SortKey
from records_service.search.facets import Facet, chosen_from_large, facets_of
from records_service.search.facets import shown as shown_facets
from records_service.search.facets import statement as facet_statement
from records_service.search.full_text import full_text
from records_service.search.index_conditions import Index
from records_service.search.index_query import Query, knows_order
from records_service.search.index_store import page as page_by_index
from records_service.search.model import Filter
from records_service.search.sql import Arguments, condition, sort_key
from records_service.search.text_index import TextIndex
from records_service.search_scores.store import digests
from records_service.search_texts.folding import folding_in
from records_service.search_texts.sort_store import sorted_schemas
from records_service.search_texts.words import terms_of
from shared.database import Conn, fetch_planned
from shared.database.paging import Key, PageQuery, Place, page_response, place_of
from shared.errors import UpstreamTimeout, ValidationError

ProjectionOf = Callable[[Blueprint, Reader], Projection | None]
"""What is shown of each record, in one version of the model; raises `ValidationError`."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What is looked for, in SQL."""

    condition: str
    arguments: Arguments
    keys: Sequence[tuple[Key, str]] = ()
    """By what the page is sorted before the order of creation, each with its expression."""
    joined: str = ""
    """What follows `records r` in FROM."""
    query: Query | None = None
    """The same for the search index, if that helps."""
    counting: Arguments | None = None
    """The arguments without those of `keys`, if there are such."""
    texts: TextIndex | None = None
    """The same for the index of texts, if that knows all that is asked."""
    by_values: Callable[[], Statement] | None = None
    """Makes the statement that reads values, if this one does not."""


Count = Callable[[Conn], Awaitable[Sequence[Any]]]
"""Counts the facets."""
Read = Callable[..., Awaitable[tuple[Listing, Sequence[Any] | Count]]]
"""Reads the page and the counts of the facets, or says how these are to be counted."""
Compile = Callable[[Blueprint, Reader, Arguments], Statement]
"""The search in one version of the model; raises `ValidationError`."""


def by_criteria(filter_: Filter, sort: Sequence[Any]) -> Compile:
    """A search by criteria."""

    def compiled(blueprint: Blueprint, reader: Reader, arguments: Arguments) -> Statement:
        criteria, sorts = reader.filter(filter_), reader.sort(sort)
        query = index_query(blueprint, criteria, sorts, arguments, reader.sorted)
        met = condition(criteria, arguments)
        counting = Arguments(arguments)
        keys = [sort_key(key, f"sort_{index}", arguments) for index, key in enumerate(sorts)]
        if query is not None:
            query = replace(query, keys=[key for key, _ in keys])
        return Statement(met, arguments, keys, query=query, counting=counting)

    return compiled


def index_query(
    blueprint: Blueprint,
    criteria: Criteria,
    sort: Sequence[SortKey],
    arguments: Arguments,
    sorted_schemas: Mapping[str, str],
) -> Query | None:
    """What the search index is asked; None where it tells nothing of what is looked for."""
    index = Index(blueprint, sorted_schemas)
    if not index.is_ready:
        return None
    condition = index.condition(criteria)
    read = Arguments(arguments)
    is_all = condition.sql(read) == "true"
    is_sorted = any(knows_order(index, key) for key in sort)
    if not condition.ways and not is_sorted and (is_all or "records" in read.reads):
        return None
    return Query(index, condition, sort, (), Arguments(arguments))


def by_words(context: Context, asked: str, schema: str | None) -> Compile:
    """A search in texts: the best first."""

    def compiled(blueprint: Blueprint, reader: Reader, arguments: Arguments) -> Statement:
        terms = terms_of(asked, folding_in(blueprint))
        schema_id = None if schema is None else reader.schema(schema)

        def by_values() -> Statement:
            found = full_text(terms, blueprint, context.role, arguments)
            met = found.condition
            if schema_id is not None:
                met = f"r.schema_id = {arguments.name(schema_id, 'text')} AND {met}"
            keys = list(zip(text_store.KEYS, ("0", found.rank), strict=True))
            return Statement(met, arguments, keys, found.source)

        texts = TextIndex(terms, blueprint, context.role, schema_id)
        if not texts.is_ready:
            return by_values()
        keys = [(key, "") for key in text_store.KEYS]
        return Statement("", arguments, keys, texts=texts, by_values=by_values)

    return compiled


async def search(
    context: Context,
    path: str,
    asked: PageQuery,
    compiled: Compile,
    projection_of: ProjectionOf,
    facets: Sequence[str] = (),
    *,
    is_scored: bool = False,
    is_sorted: bool = False,
) -> web.Response:
    """The page of records that are found.

    The data model that this process knows may be old. The statement tells the version that it saw:
    where that is another one, names are looked up again and the page is read again.

    `is_scored`: it names completeness; `is_sorted`: something that may have an order. Raises
    `ValidationError`, or `UpstreamTimeout` for a search that takes too long.
    """

    async def compile_(blueprint: Blueprint, reader: Reader, arguments: Arguments) -> Statement:
        if is_scored or is_sorted:
            # Read after the blueprint: what is true of a newer version of the model is not taken
            # for true of this one.
            async with context.database.acquire() as conn:
                if is_scored:
                    reader.digests = await digests(conn, context.workspace_id)
                if is_sorted:
                    reader.sorted = await sorted_schemas(conn, context.workspace_id)
        return await context.run(is_scored, compiled, blueprint, reader, arguments)

    blueprints = context.app[BLUEPRINTS]
    known = await blueprints.at(context.database, context.workspace_id, 0)
    while True:
        try:
            answer, version = await _page(
                context, path, asked, compile_, projection_of, facets, known, Options()
            )
        except ValidationError:
            # Of a name that is new, or a page that is too large.
            current = await blueprints.get(context.database, context.workspace_id)
            if current.version == known.version:
                raise
            known = current
            continue
        if version == known.version:
            return answer
        known = await blueprints.at(context.database, context.workspace_id, version)


async def _page(
    context: Context,
    path: str,
    asked: PageQuery,
    compiled: Callable[[Blueprint, Reader, Arguments], Awaitable[Statement]],
    projection_of: ProjectionOf,
    facets: Sequence[str],
    blueprint: Blueprint,
    options: Options,
) -> tuple[web.Response, int]:
    reader = Reader(blueprint, context.role, options)
    arguments = Arguments.of(
        context.workspace_id,
        blueprint.state_moves,
        settles=bool(blueprint.settling),
        folding=folding_in(blueprint),
    )
    statement = await compiled(blueprint, reader, arguments)
    order = (*(key for key, _ in statement.keys), *ORDERS["createdAt"])
    besides = {"attributes", "scope", "facets"}
    place = place_of(context.workspace_id, path, asked, order, besides=besides)
    projection = projection_of(blueprint, reader)
    counted = facets_of(facets, reader)
    if options.wanted:
        async with context.database.acquire() as conn:
            await look_up(conn, context.workspace_id, options)
        return await _page(
            context, path, asked, compiled, projection_of, facets, blueprint, options
        )
    try:
        read = partial(
            _way_of(statement), context=context, place=place, statement=statement, facets=counted
        )
        lists, database = context.app[LISTS], context.database
        found, counts = await lists.read(database, context.workspace_id, read)
        if found.model_version != blueprint.version:
            return web.Response(), found.model_version
        if callable(counts):
            counts = await lists.read_slow(database, context.workspace_id, counts)
    except UpstreamTimeout:
        raise UpstreamTimeout(
            "The search takes too long: search one schema, add a criterion, or leave out the total"
            " (`total`: `none`)"
        ) from None
    rows = found.part.rows
    items = await render_listed(context, rows, blueprint, projection)
    last = found.last
    if last is None:
        last = tuple(rows[-1].row[key.column] for key in order) if rows else ()
    more = None
    if counted:
        labels = await _labels(context, counted, counts)
        more = {"facets": shown_facets(counted, counts, blueprint, labels)}
    answer = page_response(place, items, found.part, found.total, last=last, more=more)
    return answer, found.model_version


async def _labels(
    context: Context, facets: Sequence[Facet], rows: Sequence[Any]
) -> dict[str, dict[str, str]]:
    """Large list -> option -> label, of those that were counted."""
    chosen = chosen_from_large(facets, rows)
    if not chosen:
        return {}
    async with context.database.acquire() as conn:
        return await labels_of(conn, context.workspace_id, chosen)


def _way_of(statement: Statement) -> Read:
    if statement.texts is not None:
        return _by_texts
    return _by_values if statement.query is None else _by_index


async def _by_values(
    conn: Conn, *, context: Context, place: Place, statement: Statement, facets: Sequence[Facet]
) -> tuple[Listing, list[Any]]:
    counting = Arguments(statement.counting or statement.arguments)
    count = (
        facet_statement(facets, statement.joined, statement.condition, context.role, counting)
        if facets
        else None
    )
    return await store.page(
        conn,
        workspace_id=context.workspace_id,
        place=place,
        condition=statement.condition,
        columns=[(key.column, expression) for key, expression in statement.keys],
        arguments=statement.arguments,
        joined=statement.joined,
        facets=None if count is None else (count, counting),
    )


async def _by_index(
    conn: Conn, *, context: Context, place: Place, statement: Statement, facets: Sequence[Facet]
) -> tuple[Listing, Sequence[Any] | Count]:
    query = statement.query
    assert query is not None
    found, measured = await page_by_index(
        conn, context.database, context.workspace_id, place=place, query=query
    )
    if not facets:
        return found, []
    count = partial(
        index_facets.count,
        database=context.database,
        facets=facets,
        query=query,
        measured=measured,
        role=context.role,
    )
    # Those of many records take long: they are neither begun twice nor told by the time.
    return found, await count(conn) if measured.is_few else count


async def _by_texts(
    conn: Conn, *, context: Context, place: Place, statement: Statement, facets: Sequence[Facet]
) -> tuple[Listing, list[Any]]:
    index = statement.texts
    assert index is not None
    if not await index.learn(conn):
        assert statement.by_values is not None
        return await _by_values(
            conn, context=context, place=place, statement=statement.by_values(), facets=facets
        )
    found = await text_store.page(
        conn, context.database, context.workspace_id, place=place, index=index
    )
    if not facets:
        return found, []
    counting = index.arguments(with_state=True)
    source = await text_store.facet_source(conn, index, counting)
    count = facet_statement(facets, "", source, context.role, counting)
    return found, await fetch_planned(conn, count, *counting)

"""Searches over HTTP."""

from __future__ import annotations

from aiohttp import web

from records_service.blueprint.blueprint import Blueprint
from records_service.context import context_of
from records_service.records.projection import Projection, projection_of
from records_service.search.criteria import Reader
from records_service.search.model import FACETS_MAX, FullTextBody, SearchBody, SearchPage, TextQuery
from records_service.search.naming import check_known
from records_service.search.scored import asks_for_scores
from records_service.search.searching import by_criteria, by_words, search
from records_service.search.showing import shown
from records_service.search.sort_sources import asks_for_sorts
from records_service.search_texts.folding import FOLDING
from records_service.search_texts.words import TERMS_MAX, terms_of
from shared.errors import UpstreamTimeout, ValidationError
from shared.http import SMALL_BODY, Routes, read_body, read_query
from shared.http.messages import shown as sent
from shared.identity import Permission

routes = Routes(
    tag="Search",
    about="Finds records by the values of their attributes.",
)


@routes.post(
    "/api/v1/search",
    permission=Permission.READ,
    body=SearchBody,
    answers=SearchPage,
    summary="Search records by criteria",
    errors=(UpstreamTimeout,),
)
async def search_records(request: web.Request) -> web.StreamResponse:
    """One page of the records that meet the criteria, oldest first or as `sort` says.

    A criterion without a scope matches if a value in any scope does; `notEquals` and `notIn` match
    if none equals, also records without a value. With a scope, the value that holds there is
    compared. `contains`, `startsWith` and `endsWith` ignore case and accents; `equals` is exact.
    Numbers may be sent as strings. `completeness` is what the caller is told of each record.
    Records in which an attribute is hidden from the caller take no part in a criterion on it; an
    attribute that the caller sees nowhere is unknown.
    """
    context = await context_of(request)
    asked = await read_body(request, SearchBody)
    check_known(asked.criteria, asked.sort)
    compiled = by_criteria(asked, asked.sort)
    return await search(
        context,
        request.path,
        asked,
        compiled,
        shown(context, asked),
        asked.facets,
        is_scored=asks_for_scores(asked.criteria, asked.sort),
        is_sorted=asks_for_sorts(asked.criteria, asked.sort),
    )


@routes.post(
    "/api/v1/search/full-text",
    permission=Permission.READ,
    body=FullTextBody,
    body_bytes_max=SMALL_BODY,
    answers=SearchPage,
    summary="Search texts",
    errors=(UpstreamTimeout,),
)
async def search_texts(request: web.Request) -> web.StreamResponse:
    """One page of the records that have all words of the query, the best first.

    A word is found in texts, in labels of options and, also as a part, in values of unique
    attributes such as a SKU, without regard to case and accents; in texts of a segment with a
    `locale`, also other forms of the word. `"two words"` is a phrase, `-word` excludes, and the
    last word may be unfinished. Nothing that is hidden from the caller is found.
    """
    context = await context_of(request)
    asked = await read_body(request, FullTextBody)
    compiled = by_words(context, _words(asked.query), asked.schema_id)
    return await search(context, request.path, asked, compiled, shown(context, asked), asked.facets)


@routes.get(
    "/api/v1/search/text",
    permission=Permission.READ,
    query=TextQuery,
    answers=SearchPage,
    summary="Search texts, by a query string",
    errors=(UpstreamTimeout,),
)
async def search_texts_by_query(request: web.Request) -> web.StreamResponse:
    """As `POST /search/full-text`."""
    context = await context_of(request)
    asked = read_query(request, TextQuery)
    compiled = by_words(context, _words(asked.query or asked.q), asked.schema_id)

    def projection(blueprint: Blueprint, _: Reader) -> Projection | None:
        return projection_of(asked, blueprint, context.role)

    return await search(context, request.path, asked, compiled, projection, _names(asked.facets))


def _names(sent: str) -> list[str]:
    names = [name for name in sent.split(",") if name]
    if len(names) > FACETS_MAX:
        raise ValidationError.at(
            "/facets", f"Field 'facets' must have at most {FACETS_MAX} items, got {len(names)}"
        )
    return names


def _words(query: str | None) -> str:
    """A query. Raises `ValidationError` for one without words to look for."""
    if query is None:
        raise ValidationError.at("/query", "Field 'query' is required")
    terms = terms_of(query, FOLDING)
    if len(terms) > TERMS_MAX:
        raise ValidationError.at(
            "/query", f"Field 'query' must have at most {TERMS_MAX} words, got {len(terms)}"
        )
    if all(term.excluded for term in terms):
        raise ValidationError.at(
            "/query", f"Field 'query' must have a word to look for, got {sent(query)}"
        )
    return query

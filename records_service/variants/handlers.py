"""Variants over HTTP."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from records_service.completeness.answering import completeness_response
from records_service.completeness.model import CompletenessQuery
from records_service.context import context_of
from records_service.records.loading import LoadedRecord
from records_service.records.model import ValueChange
from records_service.variants import commands
from records_service.variants.listing import variants_of_record, variants_of_schema
from records_service.variants.loading import load_variant, load_with_ancestors
from records_service.variants.model import (
    ResolvedVariantAnswer,
    ValueOptions,
    VariantAnswer,
    VariantChanges,
    VariantCompletenessAnswer,
    VariantDraft,
    VariantFilter,
    VariantPage,
)
from records_service.variants.rendering import answer, resolve, resolved_answer
from records_service.variants.store import BY_CREATION
from shared.database.paging import PageQuery, place_of
from shared.errors import Conflict, LimitExceeded, NotFound, PreconditionFailed
from shared.http import Routes, no_content, read_body, read_query
from shared.identity import Permission
from shared.process.offload import Large

routes = Routes(
    tag="Variants",
    about="What a record comes in, such as its sizes and colours. A variant stores only the values"
    " that it overrides, and inherits all others from the variant above it or from the record.",
    examples={"id": "ent-coastal-wb", "vid": "var-cw-s", "attr": "price"},
    parameters={
        "id": "Id of the record.",
        "vid": "Id of the variant.",
        "attr": "Id or alias of the attribute.",
    },
)


@routes.get(
    "/api/v1/variants",
    permission=Permission.READ,
    query=VariantFilter,
    answers=VariantPage,
    summary="List variants, oldest first",
)
async def list_variants(request: web.Request) -> web.StreamResponse:
    """One page of the variants of all records, or of the records of one schema, oldest first.

    Its size is limited as that of a list of records.
    """
    context = await context_of(request)
    asked = read_query(request, VariantFilter)
    place = place_of(context.workspace_id, request.path, asked, BY_CREATION)
    return await variants_of_schema(context, asked.schema_id, place)


@routes.get(
    "/api/v1/records/{id}/variants",
    permission=Permission.READ,
    query=PageQuery,
    answers=VariantPage,
    summary="List the variants of a record, oldest first",
    errors=(NotFound,),
)
async def list_variants_of_record(request: web.Request) -> web.StreamResponse:
    """One page of all variants of a record, on all levels, oldest first.

    Its size is limited as that of a list of records.
    """
    context = await context_of(request)
    asked = read_query(request, PageQuery)
    place = place_of(context.workspace_id, request.path, asked, BY_CREATION)
    return await variants_of_record(context, request.match_info["id"], place)


@routes.post(
    "/api/v1/records/{id}/variants",
    permission=Permission.UPDATE_DATA,
    role="`write` on each attribute in the body, and on one at least",
    body=VariantDraft,
    answers=VariantAnswer,
    status=201,
    summary="Create a variant",
    errors=(NotFound, Conflict, LimitExceeded),
)
async def create_variant(request: web.Request) -> web.StreamResponse:
    """Creates a variant of the record, or of another variant of it.

    The schema must have `variantEnabled`. Values that are left out are inherited. A record has at
    most 5,000 variants, on at most 100 levels; they do not count towards the record limit.
    """
    context = await context_of(request)
    draft = await read_body(request, VariantDraft)
    record_id = request.match_info["id"]
    created = await commands.create(context, record_id, draft)
    location = f"/api/v1/records/{record_id}/variants/{created.variant.id}"
    return await answer(context, created, status=201, location=location)


@routes.get(
    "/api/v1/records/{id}/variants/{vid}",
    permission=Permission.READ,
    answers=VariantAnswer,
    summary="Get a variant",
    errors=(NotFound,),
)
async def get_variant(request: web.Request) -> web.StreamResponse:
    """One variant, with the values that it overrides. Its version is in the `ETag` header."""
    context = await context_of(request)
    return await answer(context, await load_variant(context, *_ids(request)))


@routes.get(
    "/api/v1/records/{id}/variants/{vid}/resolved",
    permission=Permission.READ,
    answers=ResolvedVariantAnswer,
    summary="Get all values of a variant",
    errors=(NotFound,),
)
async def get_resolved_variant(request: web.Request) -> web.StreamResponse:
    """One variant, with its own values and those that it inherits.

    An attribute is inherited as a whole: an override in one scope hides the inherited values of all
    scopes. Attributes that are not `inheritable` have only the variant's own values.
    """
    context = await context_of(request)
    return await resolved_answer(context, await load_with_ancestors(context, *_ids(request)))


@routes.get(
    "/api/v1/records/{id}/variants/{vid}/completeness",
    permission=Permission.READ,
    query=CompletenessQuery,
    answers=VariantCompletenessAnswer,
    summary="Get the completeness of a variant",
    errors=(NotFound,),
)
async def get_variant_completeness(request: web.Request) -> web.StreamResponse:
    """The share of required attributes that have a value of the variant's own or an inherited one.

    A variant has no lifecycle state: the state of its record counts. Hidden attributes are treated
    as for records.
    """
    context = await context_of(request)
    asked = read_query(request, CompletenessQuery)
    loaded = await load_with_ancestors(context, *_ids(request))
    related = await loaded.related(context)
    found = await context.run(loaded.is_large, resolve, loaded, related)
    values = Large(found.values) if loaded.is_large else found.values
    record = replace(loaded.record, values=values)
    judged = LoadedRecord(record, loaded.blueprint, loaded.schema, loaded.state)
    return await completeness_response(request, context, judged, asked, variantId=loaded.variant.id)


@routes.put(
    "/api/v1/records/{id}/variants/{vid}",
    permission=Permission.UPDATE_DATA,
    role="`write` on each attribute in the body",
    body=VariantChanges,
    answers=VariantAnswer,
    summary="Update a variant",
    errors=(NotFound, Conflict, PreconditionFailed),
)
async def update_variant(request: web.Request) -> web.StreamResponse:
    """Replaces all own values of each attribute in the body; other attributes are not changed.

    Null or `[]` drops the override, so that the attribute is inherited again.
    """
    context = await context_of(request)
    changes = await read_body(request, VariantChanges)
    record_id, variant_id = _ids(request)
    return await answer(context, await commands.update(context, variant_id, record_id, changes))


@routes.patch(
    "/api/v1/records/{id}/variants/{vid}/values/{attr}",
    permission=Permission.UPDATE_DATA,
    role="`write` on the attribute",
    query=ValueOptions,
    body=ValueChange,
    answers=VariantAnswer,
    summary="Set an attribute of a variant in one scope",
    errors=(NotFound, Conflict, PreconditionFailed),
)
async def set_variant_value(request: web.Request) -> web.StreamResponse:
    """Sets the variant's own value of one attribute in one scope; null removes it.

    **The first own value of an attribute hides all inherited values of that attribute**, also those
    of other scopes: with an own value in English only, the inherited Danish one no longer shows.
    `copyInherited=true` takes over the inherited values of the other scopes at the same time. After
    the last own value is removed, the attribute is inherited again.
    """
    context = await context_of(request)
    options = read_query(request, ValueOptions)
    change = await read_body(request, ValueChange)
    record_id, variant_id = _ids(request)
    changed = await commands.set_value(
        context,
        variant_id,
        record_id,
        request.match_info["attr"],
        change,
        copy_inherited=options.copy_inherited,
    )
    return await answer(context, changed)


@routes.delete(
    "/api/v1/records/{id}/variants/{vid}",
    permission=Permission.DELETE_DATA,
    role="one that can write an attribute of the schema and sees all of them",
    summary="Delete a variant",
    errors=(NotFound, PreconditionFailed),
)
async def delete_variant(request: web.Request) -> web.StreamResponse:
    """Deletes the variant and all variants below it. Their history stays."""
    context = await context_of(request)
    record_id, variant_id = _ids(request)
    await commands.delete(context, variant_id, record_id)
    return no_content()


def _ids(request: web.Request) -> tuple[str, str]:
    return request.match_info["id"], request.match_info["vid"]

"""Records over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import orjson
from aiohttp import web

from records_service.blueprint.blueprint import BLUEPRINTS, Blueprint
from records_service.blueprint.compiled_schema import NOTHING, Access, compiled_schema
from records_service.chunked_response import response_in_pieces
from records_service.paging import LISTS
from records_service.permissions.roles import role_of
from records_service.permissions.rules import Role
from records_service.records import commands, store
from records_service.records.commands import Caller
from records_service.records.loading import LoadedRecord, load_record, related_of
from records_service.records.model import (
    AvailableTransitionAnswer,
    CompletenessAnswer,
    CompletenessQuery,
    RecordAnswer,
    RecordChanges,
    RecordDraft,
    RecordFilter,
    RecordPage,
    TransitionRequest,
    ValueChange,
)
from records_service.records.render_cache import RENDER_CACHE, Ruled, render_all
from records_service.records.rendering import shown
from records_service.records.store import Listed, Listing
from records_service.transitions import decisions
from records_service.values.completeness import Completeness, Resolution
from records_service.values.scopes import (
    Scope,
    UnknownDimension,
    UnusableScope,
    dimension_ids_by_name,
    with_ids,
)
from shared.database import DATABASE
from shared.errors import (
    Conflict,
    LimitExceeded,
    NotFound,
    PreconditionFailed,
    TransitionError,
    ValidationError,
    truncated,
)
from shared.http import (
    TEXT_BODY,
    Routes,
    has_large_body,
    identity_of,
    json_response,
    no_content,
    read_body,
    read_query,
    to_json,
    versioned_response,
)
from shared.http.versions import if_match
from shared.identity import Permission
from shared.ids import check_same_id
from shared.process.offload import OFFLOAD, Large

routes = Routes(
    tag="Records",
    about="Products: their values, their schema and, if that has a workflow, their state.",
    examples={"id": "ent-coastal-wb", "attr": "price"},
    parameters={"id": "Id of the record.", "attr": "Id or alias of the attribute."},
)


@routes.get(
    "/api/v1/records",
    permission=Permission.READ,
    query=RecordFilter,
    answers=RecordPage,
    summary="List records, oldest first",
)
async def list_records(request: web.Request) -> web.StreamResponse:
    """One page of records, filtered by schema and lifecycle state, oldest first.

    A page has at most 16 MB. Without `limit`, it may be shorter than usual; its `limit` says how
    many records it has. An explicit `limit` that would exceed the size is refused. The next page
    begins at `offset` + `limit`. Attributes that are hidden from the caller are left out.
    """
    asked = read_query(request, RecordFilter)
    role = await role_of(request)
    page, blueprint = await _page(request, asked)
    return json_response(
        {
            "items": await _shown_list(request, page.records, blueprint, role),
            "total": page.total,
            "offset": asked.offset,
            "limit": page.limit,
        }
    )


@routes.post(
    "/api/v1/records",
    permission=Permission.UPDATE_DATA,
    role="`write` on each attribute in the body, and on one at least",
    body=RecordDraft,
    answers=RecordAnswer,
    status=201,
    summary="Create a record",
    errors=(NotFound, Conflict, LimitExceeded),
)
async def create_record(request: web.Request) -> web.StreamResponse:
    """Creates a record. It starts in the default state of its workflow."""
    caller = await _caller(request)
    draft = await read_body(request, RecordDraft)
    is_large = has_large_body(request)
    seen = await commands.create(request.app, caller, draft, is_large=is_large)
    return await _answer(
        request, caller, seen, status=201, location=f"/api/v1/records/{seen.record.id}"
    )


@routes.get(
    "/api/v1/records/{id}",
    permission=Permission.READ,
    answers=RecordAnswer,
    summary="Get a record",
    errors=(NotFound,),
)
async def get_record(request: web.Request) -> web.StreamResponse:
    """One record. Its version is in the `ETag` header."""
    caller = await _caller(request)
    return await _answer(request, caller, await _see(request))


@routes.put(
    "/api/v1/records/{id}",
    permission=Permission.UPDATE_DATA,
    role="`write` on each attribute in the body",
    body=RecordChanges,
    answers=RecordAnswer,
    summary="Update a record",
    errors=(NotFound, Conflict, PreconditionFailed),
)
async def update_record(request: web.Request) -> web.StreamResponse:
    """Replaces all values of each attribute in the body; other attributes are not changed."""
    caller = await _caller(request)
    changes = await read_body(request, RecordChanges)
    check_same_id(request.match_info["id"], changes.id)
    seen = await commands.change(
        request.app,
        caller,
        request.match_info["id"],
        changes,
        is_large=has_large_body(request),
    )
    return await _answer(request, caller, seen)


@routes.patch(
    "/api/v1/records/{id}/values/{attr}",
    permission=Permission.UPDATE_DATA,
    role="`write` on the attribute",
    body=ValueChange,
    answers=RecordAnswer,
    summary="Set an attribute in one scope",
    errors=(NotFound, Conflict, PreconditionFailed),
)
async def set_value(request: web.Request) -> web.StreamResponse:
    """Sets the value of one attribute in one scope; null removes it. Other scopes stay."""
    caller = await _caller(request)
    change = await read_body(request, ValueChange)
    seen = await commands.set_value(
        request.app,
        caller,
        request.match_info["id"],
        request.match_info["attr"],
        change,
        is_large=has_large_body(request),
    )
    return await _answer(request, caller, seen)


@routes.delete(
    "/api/v1/records/{id}",
    permission=Permission.DELETE_DATA,
    role="one that can write an attribute of the schema and sees all of them",
    summary="Delete a record",
    errors=(NotFound, PreconditionFailed),
)
async def delete_record(request: web.Request) -> web.StreamResponse:
    """Deletes the record. Its history stays. Relations that point to it are no longer shown."""
    caller = await _caller(request)
    await commands.delete(request.app, caller, request.match_info["id"])
    return no_content()


@routes.post(
    "/api/v1/records/{id}/transition",
    permission=Permission.UPDATE_DATA,
    role="one that the transition allows",
    body=TransitionRequest,
    body_bytes_max=TEXT_BODY,
    answers=RecordAnswer,
    summary="Move a record to another lifecycle state",
    errors=(NotFound, TransitionError, PreconditionFailed),
)
async def transition_record(request: web.Request) -> web.StreamResponse:
    """Moves the record to another lifecycle state.

    Checked in this order: the transition is defined, the role may make it, the completeness score
    is high enough.
    """
    caller = await _caller(request)
    asked = await read_body(request, TransitionRequest)

    async def decide(seen: LoadedRecord, to_state_id: str) -> None:
        access = seen.rules.access(caller.role, seen.record.state_id)
        if not caller.identity.may_read:
            access = NOTHING
        await decisions.check_transition(request, seen, to_state_id, access)

    seen = await commands.move(
        request.app, caller, request.match_info["id"], asked.to_state_id, asked.comment, decide
    )
    return await _answer(request, caller, seen)


@routes.get(
    "/api/v1/records/{id}/transitions",
    permission=Permission.READ,
    answers=list[AvailableTransitionAnswer],
    summary="List the transitions from the current state",
    errors=(NotFound,),
)
async def list_transitions(request: web.Request) -> web.StreamResponse:
    """The transitions from the current state: whether each is allowed, and if not, every reason."""
    caller = await _caller(request)

    async def attempt() -> tuple[LoadedRecord, Resolution, Access, list[dict[str, Any]]]:
        seen = await _see(request)
        access = seen.rules.access(caller.role, seen.record.state_id)
        at = await decisions.resolution(request.app, seen)
        return seen, at, access, await decisions.transitions(request, seen, at, access)

    seen, at, access, steps = await commands.settled(request.app, attempt)
    places = _Places(access.visible, at)
    return await response_in_pieces(
        request,
        b"[",
        steps,
        lambda step: to_json(_transition(step, places)),
        b"]",
        is_large=decisions.is_much(seen, len(steps)),
    )


@routes.get(
    "/api/v1/records/{id}/completeness",
    permission=Permission.READ,
    query=CompletenessQuery,
    answers=CompletenessAnswer,
    summary="Get the completeness of a record",
    errors=(NotFound,),
)
async def get_completeness(request: web.Request) -> web.StreamResponse:
    """The share of required attributes that have a value, for each lifecycle state.

    Attributes that are hidden from the caller, or whose guards refer to hidden attributes, are
    neither counted nor named. The completeness that a transition requires counts all attributes.
    """
    caller = await _caller(request)
    asked = read_query(request, CompletenessQuery)
    seen = await _see(request)
    rules, record = seen.rules, seen.record
    scope = _asked_scope(asked.scope, seen.blueprint)
    state_id = record.state_id
    if asked.state_id is not None:
        state = rules.lifecycle.state_named(asked.state_id) if rules.lifecycle else None
        if state is None:
            raise ValidationError.at(
                "/stateId",
                f"Unknown state '{truncated(asked.state_id)}' for schema"
                f" '{truncated(rules.schema.id)}'",
            )
        state_id = state.id
    access = rules.access(caller.role, record.state_id)
    states = rules.lifecycle.states if rules.lifecycle else ()
    is_large = decisions.is_much(seen, len(states))
    found = await decisions.resolution(request.app, seen, scope)
    asked_for = await request.app[OFFLOAD].run_if(
        is_large, record.workspace_id, decisions.score, rules, found, state_id, access
    )
    places = _Places(access.visible, found)
    head = {
        "entityId": record.id,
        "stateId": state_id,
        "required": asked_for.required,
        **_told_score(asked_for, places),
    }

    def of_state(each: str) -> bytes:
        scored = decisions.score(rules, found, each, access)
        return to_json({"stateId": each, **_told_score(scored, places)})

    return await response_in_pieces(
        request,
        to_json(head).removesuffix(b"}") + b',"states":[',
        states,
        of_state,
        b"]}",
        is_large=is_large,
    )


async def _shown_list(
    request: web.Request, listed: Sequence[Listed], blueprint: Blueprint, role: Role | None
) -> list[orjson.Fragment]:
    """Each record as the caller sees it."""
    rules_by_schema = {
        schema_id: await compiled_schema(blueprint, schema_id)
        for schema_id in {one.schema_id for one in listed}
    }
    ruled = [
        Ruled(one, rules, rules.access(role, one.state_id))
        for one in listed
        for rules in (rules_by_schema[one.schema_id],)
    ]
    renderings = request.app[RENDER_CACHE]
    known = [renderings.find(one) for one in ruled]
    new = [one for one, rendering in zip(ruled, known, strict=True) if rendering is None]
    rendered = await render_all(request.app, identity_of(request).workspace_id, new) if new else []
    for one, rendering in zip(new, rendered, strict=True):
        renderings.remember(one, rendering)
    written = iter(rendered)
    return [
        orjson.Fragment(next(written) if rendering is None else rendering) for rendering in known
    ]


async def _caller(request: web.Request) -> Caller:
    return Caller(identity_of(request), await role_of(request), if_match(request))


async def _see(request: web.Request) -> LoadedRecord:
    return await load_record(
        request.app, identity_of(request).workspace_id, request.match_info["id"]
    )


async def _answer(
    request: web.Request,
    caller: Caller,
    seen: LoadedRecord,
    *,
    status: int = 200,
    location: str | None = None,
) -> web.StreamResponse:
    share, values = seen.record.workspace_id, seen.record.values
    is_large = isinstance(values, Large)
    related = await related_of(request.app, share, [(values, seen.rules)], is_large=is_large)
    access = seen.rules.access(caller.role, seen.record.state_id)
    told_record = await request.app[OFFLOAD].run_if(
        is_large, share, shown, seen.record, seen.rules, access, related
    )
    return versioned_response(told_record, seen.record.version, status=status, location=location)


async def _page(request: web.Request, asked: RecordFilter) -> tuple[Listing, Blueprint]:
    """The page, and the model at its moment.

    The names in the filters are looked up in the model that this process has, which may be old,
    because asking for the current version first would be a round trip. The page tells the version:
    where the names mean something else in that one, the page is read again.
    """
    workspace_id, db = identity_of(request).workspace_id, request.app[DATABASE]
    blueprints = request.app[BLUEPRINTS]
    filters = _filters(asked, await blueprints.at(db, workspace_id, 0))
    while True:
        schema_id, state_ids = used = filters
        try:
            page = await request.app[LISTS].read(
                db,
                workspace_id,
                partial(
                    store.page,
                    workspace_id=workspace_id,
                    schema_id=schema_id,
                    state_ids=state_ids,
                    offset=asked.offset,
                    limit=asked.limit,
                    limit_is_asked=asked.limit_is_asked,
                ),
            )
        except ValidationError:
            # The page is too large, if it is the one that was asked for.
            filters = _filters(asked, await blueprints.get(db, workspace_id))
            if filters == used:
                raise
            continue
        blueprint = await blueprints.at(db, workspace_id, page.model_version)
        filters = _filters(asked, blueprint)
        if filters == used:
            return page, blueprint


def _filters(asked: RecordFilter, blueprint: Blueprint) -> tuple[str | None, list[str] | None]:
    """The schema's id, and the ids of all states with this name, in every workflow.

    Both may be named by id or alias; a name that nothing has finds nothing.
    """
    schema_name, state_name = asked.schema_id, asked.lifecycle_state_id
    if schema_name is not None and schema_name not in blueprint.schemas:
        named = (schema.id for schema in blueprint.schemas.values() if schema.alias == schema_name)
        schema_name = next(named, schema_name)
    if state_name is None:
        return schema_name, None
    states = (lifecycle_.state_named(state_name) for lifecycle_ in blueprint.lifecycles.values())
    return schema_name, sorted({state_name, *(state.id for state in states if state)})


def _asked_scope(text: str | None, blueprint: Blueprint) -> Scope:
    """The scope of a query string, or `ValidationError` naming what is wrong with it."""
    if text is None:
        return {}
    expected = 'Field \'scope\' expects a JSON object such as {"dim-language": "seg-en"}'
    try:
        scope = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ValidationError.at("/scope", f"{expected}, got '{truncated(text)}'") from None
    if not isinstance(scope, dict):
        raise ValidationError.at("/scope", f"{expected}, got '{truncated(text)}'")
    dimensions = blueprint.dimensions
    try:
        return with_ids(scope, dimension_ids_by_name(dimensions, dimensions), dimensions)
    except UnknownDimension as unknown:
        raise ValidationError.at(
            "/scope", f"Unknown dimension '{truncated(unknown.args[0])}'"
        ) from None
    except UnusableScope as fault:
        raise ValidationError.at("/scope", str(fault)) from None


class _Places:
    """What attributes are called, and where a value would fill each of them.

    That is written down once for each attribute, however many states or transitions tell it.
    """

    def __init__(self, visible: Mapping[str, str], at: Resolution) -> None:
        self.visible = visible
        self._at = at
        self._written: dict[str, orjson.Fragment] = {}

    def of(self, attribute_id: str) -> orjson.Fragment:
        """The attribute and its scope, as JSON."""
        if attribute_id not in self._written:
            self._written[attribute_id] = orjson.Fragment(
                to_json(
                    {
                        "attribute": self.visible[attribute_id],
                        "scope": self._at.scope_of(attribute_id),
                    }
                )
            )
        return self._written[attribute_id]


def _told_score(found: Completeness, places: _Places) -> dict[str, Any]:
    return {
        "score": found.score,
        "filled": [places.visible[i] for i in found.filled],
        "missing": [places.visible[i] for i in found.missing],
        "missingIn": [places.of(i) for i in found.missing],
    }


def _transition(step: dict[str, Any], places: _Places) -> dict[str, Any]:
    """A transition without the names of attributes that are hidden from the caller."""
    reasons = [_reason(reason, places) for reason in step["reasons"]]
    return {
        "toStateId": step["toStateId"],
        "name": step.get("name"),
        "allowed": step["allowed"],
        "reason": reasons[0]["message"] if reasons else None,
        "reasons": reasons,
    }


def _reason(told_: dict[str, Any], places: _Places) -> dict[str, Any]:
    missing = told_.get("missing")
    seen = None if missing is None else [each for each in missing if each in places.visible]
    return {
        "code": told_["code"],
        "message": told_["message"],
        "score": told_.get("score"),
        "minimum": told_.get("minimum"),
        "missing": None if seen is None else [places.visible[each] for each in seen],
        "missingIn": None if seen is None else [places.of(each) for each in seen],
    }

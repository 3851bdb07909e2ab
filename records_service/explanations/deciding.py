"""Answers whether somebody may do something, with every rule that speaks for or against.

Nothing is decided here. Each rule is a function that the routes themselves call, asked for the
subject of the question instead of the caller (docs/adr/0074).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Final

from records_service.blueprint.blueprint import BLUEPRINTS
from records_service.blueprint.compiled_schema import CompiledSchema, compiled_schema
from records_service.catalogs.categories.reading import check_catalog_visible
from records_service.catalogs.model import CATALOG
from records_service.completeness.scoring import resolution
from records_service.context import Context
from records_service.explanations.model import (
    ExplainRequest,
    PermissionAction,
    Reason,
    ReasonSource,
)
from records_service.explanations.resources import (
    At,
    resource_reason,
    route_reason,
)
from records_service.explanations.subjects import Subject
from records_service.model_objects import store as model_objects
from records_service.permissions.rules import (
    ANY,
    AttributePermission,
    allows,
    catalog_access,
    decided,
)
from records_service.records import store as records
from records_service.records.commands import check_may_create, check_may_delete, first_state
from records_service.records.loading import LoadedRecord, load_record
from records_service.transitions import decisions
from records_service.workflow_copies.model import State
from records_service.writes.attempts import retry_on_stale
from records_service.writes.changes import may_write_all
from shared.errors import (
    PermissionDenied,
    TransitionError,
    ValidationError,
    truncated,
)

_OF_RECORDS: Final = {
    PermissionAction.READ: At("GET", "/records/{id}"),
    PermissionAction.WRITE: At("PUT", "/records/{id}"),
    PermissionAction.DELETE: At("DELETE", "/records/{id}"),
    PermissionAction.TRANSITION: At("POST", "/records/{id}/transition"),
}
_OF_SCHEMAS: Final = {
    PermissionAction.READ: At("GET", "/records"),
    PermissionAction.WRITE: At("POST", "/records"),
    PermissionAction.DELETE: At("DELETE", "/records/{id}"),
    PermissionAction.MANAGE: At("PUT", "/schemas/{id}"),
}
_OF_CATALOGS: Final = {
    PermissionAction.READ: At("GET", "/catalogs/{id}"),
    PermissionAction.WRITE: At("PUT", "/catalogs/{id}"),
    PermissionAction.MANAGE: At("PUT", "/catalogs/{id}"),
    PermissionAction.DELETE: At("DELETE", "/catalogs/{id}"),
    PermissionAction.ASSIGN: At("POST", "/categories/{id}/assign"),
}


@retry_on_stale
async def explain(context: Context, subject: Subject, asked: ExplainRequest) -> list[Reason]:
    """Every reason, in the order of the checks of the route; at least one.

    `context` is the caller's: what does not exist for the caller is `NotFound`, whatever the
    subject may do. Raises `ValidationError` for an attribute that the schema does not have.
    """
    reasons = [each async for each in _reasons(context, subject, asked)]
    if subject.ended is not None:
        return [Reason(ReasonSource.KEY, subject.ended, allows=False)]
    return reasons


async def _reasons(
    context: Context, subject: Subject, asked: ExplainRequest
) -> AsyncIterator[Reason]:
    if asked.resource is not None:
        yield await resource_reason(subject, asked.resource, asked.action)
    elif asked.catalog_id is not None:
        await _check_catalog(context, asked.catalog_id)
        yield await route_reason(subject, _OF_CATALOGS[asked.action])
        for each in _of_catalog(subject, asked.catalog_id, asked.action):
            yield each
    elif asked.schema_id is not None:
        async for each in _about_schema(context, subject, asked.schema_id, asked):
            yield each
    elif asked.entity_id is not None:
        async for each in _about_record(context, subject, asked.entity_id, asked):
            yield each


async def _about_schema(
    context: Context, subject: Subject, name: str, asked: ExplainRequest
) -> AsyncIterator[Reason]:
    blueprint = await context.app[BLUEPRINTS].get(context.database, context.workspace_id)
    schema = await compiled_schema(blueprint, blueprint.schema_id_of(name))
    attribute_id = _attribute(schema, asked.attribute)
    yield await route_reason(subject, _OF_SCHEMAS[asked.action])
    for each in _of_schema(subject, schema, attribute_id, asked.action):
        yield each
    if asked.action is PermissionAction.WRITE:
        async for each in _of_limit(context):
            yield each


async def _about_record(
    context: Context, subject: Subject, record_id: str, asked: ExplainRequest
) -> AsyncIterator[Reason]:
    loaded = await load_record(context, record_id)
    attribute_id = _attribute(loaded.schema, asked.attribute)
    yield await route_reason(subject, _OF_RECORDS[asked.action])
    if asked.action is PermissionAction.TRANSITION:
        async for each in _of_gates(context, subject, loaded, asked.to_state_id or ""):
            yield each
        return
    place = _Place(subject, loaded.schema, loaded.state)
    for each in _of_record(place, attribute_id, asked.action):
        yield each


def _attribute(schema: CompiledSchema, name: str | None) -> str | None:
    if name is None:
        return None
    attribute_id = schema.ids_by_name.get(name)
    if attribute_id is None:
        raise ValidationError.at(
            "/attribute",
            f"Field 'attribute' names no attribute of schema '{truncated(schema.definition.id)}',"
            f" got '{truncated(name)}'",
        )
    return attribute_id


async def _check_catalog(context: Context, catalog_id: str) -> None:
    check_catalog_visible(context, catalog_id)
    async with context.database.acquire() as conn:
        await model_objects.get(conn, CATALOG, context.workspace_id, catalog_id)


def _of_catalog(subject: Subject, catalog_id: str, action: PermissionAction) -> Iterator[Reason]:
    if subject.source is ReasonSource.KEY:
        return
    role = subject.context.role
    access = catalog_access(role, catalog_id)
    rights = {"canView": access.can_view}
    if action is PermissionAction.ASSIGN:
        rights["canAssign"] = access.can_assign
    for right, allowed in rights.items():
        has = "has" if allowed else "lacks"
        rule = f"The role {has} '{right}' on catalog '{truncated(catalog_id)}'"
        if right == "canView" and role is not None and role.manages_schemas:
            rule = "The role manages schemas, and so may view every catalog"
        yield Reason(ReasonSource.CATALOG, rule, allowed)


@dataclass(frozen=True, slots=True)
class _Place:
    """A subject, and the records of a schema in one state."""

    subject: Subject
    schema: CompiledSchema
    state: State | None
    is_new: bool = False

    def may_see(self, attribute_id: str) -> bool:
        """As reads decide."""
        role = self.subject.context.role
        return attribute_id in self.schema.access(role, self._state_id).visible

    def may_write(self, attribute_id: str) -> bool:
        """As writes decide."""
        role = self.subject.context.role
        return may_write_all([attribute_id], self.schema, role, self.state, is_new=self.is_new)

    @property
    def _state_id(self) -> str | None:
        return None if self.state is None else self.state.id


def _of_schema(
    subject: Subject, schema: CompiledSchema, attribute_id: str | None, action: PermissionAction
) -> Iterator[Reason]:
    if action is PermissionAction.MANAGE:
        return
    if action is PermissionAction.DELETE:
        yield _of_deletion(subject, schema)
    elif action is PermissionAction.READ:
        place = _Place(subject, schema, None)
        if attribute_id is not None:
            yield from _of_attribute(place, attribute_id, PermissionAction.READ)
        else:
            yield _of_reading(place)
    else:
        state_id = first_state(schema)
        place = _Place(subject, schema, schema.state_of(state_id), is_new=True)
        yield _of_creation(place, state_id)
        if attribute_id is not None:
            yield from _of_attribute(place, attribute_id, PermissionAction.WRITE)


def _of_record(
    place: _Place, attribute_id: str | None, action: PermissionAction
) -> Iterator[Reason]:
    if action is PermissionAction.DELETE:
        yield _of_deletion(place.subject, place.schema)
    elif attribute_id is not None:
        yield from _of_attribute(place, attribute_id, action)
    elif action is PermissionAction.WRITE:
        yield _of_writing(place)


def _of_deletion(subject: Subject, schema: CompiledSchema) -> Reason:
    try:
        check_may_delete(subject.context.role, schema)
    except PermissionDenied as error:
        return Reason(subject.source, error.first, allows=False)
    return Reason(
        subject.source, f"{_who(subject)} may delete records of {_named(schema)}", allows=True
    )


def _of_creation(place: _Place, state_id: str | None) -> Reason:
    subject = place.subject
    try:
        check_may_create(subject.context.role, place.schema, state_id)
    except PermissionDenied as error:
        return Reason(subject.source, error.first, allows=False)
    rule = f"{_who(subject)} may write an attribute of new records of {_named(place.schema)}"
    return Reason(subject.source, rule, allows=True)


def _of_reading(place: _Place) -> Reason:
    """Whether any attribute of a schema is not hidden, as `POST /roles/{id}/resolve` lists them."""
    subject, schema = place.subject, place.schema
    if subject.context.role is None or any(map(place.may_see, schema.attributes)):
        rule = f"{_who(subject)} may read attributes of {_named(schema)}"
        return Reason(subject.source, rule, allows=True)
    rule = f"The role may read no attribute of {_named(schema)}"
    return Reason(ReasonSource.ROLE, rule, allows=False)


def _of_writing(place: _Place) -> Reason:
    """Whether any attribute of a record may be written now."""
    subject, schema = place.subject, place.schema
    role = subject.context.role
    if schema.writable_in(role, place.state):
        rule = f"{_who(subject)} may write attributes of {_named(schema)}"
        return Reason(subject.source, rule, allows=True)
    if place.state is not None and schema.access(role, None).writable:
        rule = f"Lifecycle state '{truncated(place.state.label)}' closes every attribute to writes"
        return Reason(ReasonSource.STATE, rule, allows=False)
    return Reason(
        ReasonSource.ROLE, f"The role may write no attribute of {_named(schema)}", allows=False
    )


def _of_attribute(place: _Place, attribute_id: str, action: PermissionAction) -> Iterator[Reason]:
    """What the role and the state say of an attribute; together they are what is decided."""
    allowed = (
        place.may_see(attribute_id)
        if action is PermissionAction.READ
        else place.may_write(attribute_id)
    )
    reasons = [_of_role(place, attribute_id, action), *_of_state(place, attribute_id, action)]
    assert allowed == all(each.allows for each in reasons)
    yield from reasons


def _of_role(place: _Place, attribute_id: str, action: PermissionAction) -> Reason:
    subject, schema = place.subject, place.schema
    role = subject.context.role
    alias = truncated(schema.attributes[attribute_id].alias)
    if role is None:
        rule = f"{_who(subject)} may write every attribute"
        return Reason(subject.source, rule, allows=True)
    said = decided(role, schema.names, schema.names_of[attribute_id])
    least = (
        AttributePermission.READ if action is PermissionAction.READ else AttributePermission.WRITE
    )
    if said.schema_key is None:
        rule = f"The role says nothing of attribute '{alias}', so it is hidden"
    else:
        about = (
            "the attributes that it does not name"
            if said.attribute_key == ANY
            else f"attribute '{truncated(said.attribute_key)}'"
        )
        entry = "all other schemas" if said.schema_key == ANY else f"'{truncated(said.schema_key)}'"
        rule = f"The role says '{said.word}' of {about} in its entry for {entry}"
    return Reason(ReasonSource.ROLE, rule, allows(said.word, least))


def _of_state(place: _Place, attribute_id: str, action: PermissionAction) -> Iterator[Reason]:
    schema, state = place.schema, place.state
    if state is None:
        return
    alias, label = truncated(schema.attributes[attribute_id].alias), truncated(state.label)
    if attribute_id in schema.hidden_in(state, place.subject.context.role):
        rule = f"Attribute '{alias}' is hidden in lifecycle state '{label}'"
        yield Reason(ReasonSource.STATE, rule, allows=False)
    elif (
        action is PermissionAction.WRITE
        and not place.is_new
        and attribute_id in schema.read_only_in(state)
    ):
        rule = f"Attribute '{alias}' is read-only in lifecycle state '{label}'"
        yield Reason(ReasonSource.STATE, rule, allows=False)


async def _of_limit(context: Context) -> AsyncIterator[Reason]:
    """The record limit of the workspace refuses with 403 as well."""
    async with context.database.acquire() as conn:
        number = await records.count_all(conn, context.workspace_id)
    limit = context.identity.record_limit
    if number >= limit:
        yield Reason(ReasonSource.WORKSPACE, f"Entity limit of {limit} reached", allows=False)


async def _of_gates(
    context: Context, subject: Subject, loaded: LoadedRecord, state_name: str
) -> AsyncIterator[Reason]:
    """What the workflow says; its reasons tell of the record what the caller sees of it."""
    try:
        target = decisions.target(loaded.schema, loaded.record, state_name)
    except (TransitionError, ValidationError) as error:
        yield Reason(ReasonSource.WORKFLOW, error.message, allows=False)
        return
    access = loaded.schema.access(context.role, loaded.record.state_id)
    found = await resolution(context, loaded)
    steps = await decisions.transitions(context, loaded, found, access, subject.gating_role)
    step = next((each for each in steps if each["toStateId"] == target), None)
    start = truncated(loaded.state.label if loaded.state else loaded.record.state_id)
    state = loaded.schema.state_of(target)
    way = (
        f"from '{start}' to '{truncated(state.label if state else target.removeprefix('state-'))}'"
    )
    if step is None:
        rule = f"Transition {way} is not allowed"
        yield Reason(ReasonSource.WORKFLOW, rule, allows=False)
        return
    for reason in step["reasons"]:
        yield Reason(ReasonSource.WORKFLOW, reason["message"], allows=False)
    if step["allowed"]:
        yield Reason(
            ReasonSource.WORKFLOW, f"The workflow allows the transition {way}", allows=True
        )


def _who(subject: Subject) -> str:
    return "The API key" if subject.source is ReasonSource.KEY else "The role"


def _named(schema: CompiledSchema) -> str:
    return f"schema '{truncated(schema.definition.id)}'"

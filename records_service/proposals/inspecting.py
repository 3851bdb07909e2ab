"""What the operations of a change set are about: attributes, scopes, and the values of now.

The rules are those of reading and writing records: what an operation names is seen, or may be
changed, as if the caller read or changed the record.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from records_service.blueprint.blueprint import BLUEPRINTS
from records_service.blueprint.compiled_schema import Access, CompiledSchema, compiled_schema
from records_service.context import Context
from records_service.proposals import store
from records_service.proposals.model import (
    Action,
    Change,
    Inspected,
    InspectedChange,
    Made,
    Operation,
    Purpose,
)
from records_service.records.commands import check_may_create, check_may_delete
from records_service.records.render_cache import INLINE_BYTES_MAX
from records_service.values.entries import scope_key
from records_service.values.validation import Faults
from shared.database.paging import PAGE_BYTES_MAX
from shared.errors import (
    ApiError,
    NotFound,
    PermissionDenied,
    ValidationError,
    Violation,
    truncated,
)
from shared.http.messages import shown

_READ_AT_ONCE: Final = 20
"""Operations: a record may have some 10 MB."""
_NO_VALUES: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class _Subject:
    """What an operation is about, as it is now: `values` are those of the attributes named."""

    exists: bool
    is_of_record: bool
    """Whether its record exists; a variant may be missing none the less."""
    schema: CompiledSchema | None
    state_id: str | None
    values: Mapping[str, Any]


async def inspect(
    context: Context, purpose: Purpose, operations: Sequence[Operation], *, with_values: bool
) -> list[Inspected]:
    """What each operation is about, in the same order; at least the first, as far as values fit.

    For a proposal or a decision, raises `NotFound`, `ValidationError` or `PermissionDenied` for the
    first operation that the caller could not carry out; the pointers begin with the operation.
    """
    subjects = await _subjects(context, operations, with_values=with_values)
    inspected: list[Inspected] = []
    size, sizes = 0, dict[int, int]()
    for index, (operation, subject) in enumerate(zip(operations, subjects, strict=False)):
        try:
            one = _inspected(context, purpose, operation, subject)
        except ApiError as error:
            raise located(error, f"/operations/{index}", operation.id) from None
        for change in one.changes:
            if change is not None and change.value is not None:
                # Operations on one record have the same objects.
                key = id(change.value)
                if key not in sizes:
                    sizes[key] = len(orjson.dumps(change.value))
                size += sizes[key]
        if inspected and size > PAGE_BYTES_MAX:
            break
        inspected.append(one)
    return inspected


def located(error: ApiError, place: str, operation_id: str) -> ApiError:
    """The same error, of the operation at this place: its message names it."""
    kind = type(error)
    moved = kind.__new__(kind)
    named = f"Operation '{truncated(operation_id)}': "
    violations = error.violations or [Violation("", error.message)]
    ApiError.__init__(
        moved,
        named + error.message,
        headers=error.headers,
        violations=(one.moved(place + one.pointer, named) for one in violations),
    )
    return moved


async def _subjects(
    context: Context, operations: Sequence[Operation], *, with_values: bool
) -> list[_Subject]:
    """What the operations are about: the first of them, as far as their values fit."""
    workspace_id = context.workspace_id
    blueprint = await context.app[BLUEPRINTS].get(context.database, workspace_id)
    names = {change.attribute for one in operations if with_values for change in one.changes}
    wanted = [i for i, each in blueprint.attributes.items() if names & {i, each.alias}]
    records: dict[str, Any] = {}
    variants: dict[str, Any] = {}
    size, read = 0, 0
    async with context.database.acquire() as conn:
        while read < len(operations) and size <= PAGE_BYTES_MAX:
            some = operations[read : read + _READ_AT_ONCE]
            read += len(some)
            for ids, known, rows_of in (
                ({one.entity_id for one in some}, records, store.records_of),
                ({one.variant_id for one in some}, variants, store.variants_of),
            ):
                new = sorted({each for each in ids if each is not None} - known.keys())
                if new:
                    rows = await rows_of(conn, workspace_id, new, wanted)
                    known.update(rows)
                    size += sum(len(row["document"] or "") for row in rows.values())
    operations = operations[:read]
    schema_ids = {one.schema_id for one in operations} | {
        row["schema_id"] for row in records.values()
    }
    schemas = {
        name: await compiled_schema(blueprint, schema_id)
        for name in schema_ids
        if name is not None and (schema_id := blueprint.schema_id_of(name)) in blueprint.schemas
    }
    is_large = size > INLINE_BYTES_MAX
    documents = await context.run(is_large, _documents, list(records.values()))
    of_variants = await context.run(is_large, _documents, list(variants.values()))
    found = []
    for one in operations:
        record = None if one.made is Made.RECORD else records.get(one.entity_id or "")
        named = one.schema_id if record is None else record["schema_id"]
        schema = schemas.get(named or "")
        if one.is_of_variant:
            variant = variants.get(one.variant_id or "")
            exists = (
                one.made is None and variant is not None and variant["record_id"] == one.entity_id
            )
            values = of_variants[one.variant_id or ""] if exists else _NO_VALUES
        else:
            exists = record is not None
            values = documents[one.entity_id or ""] if exists else _NO_VALUES
        state_id = None
        if schema is not None:
            if record is not None:
                state_id = schema.state_id_of(record["state_id"])
            elif schema.workflow is not None:
                state_id = schema.workflow.default_state_id
        found.append(_Subject(exists, record is not None, schema, state_id, values))
    return found


def _documents(rows: Sequence[Any]) -> dict[str, Mapping[str, Any]]:
    return {row["id"]: orjson.loads(row["document"] or "{}") for row in rows}


def _inspected(
    context: Context, purpose: Purpose, operation: Operation, subject: _Subject
) -> Inspected:
    schema = subject.schema
    if purpose is not Purpose.READ:
        _check_subject(operation, subject)
    if schema is None:
        return Inspected(
            operation.id,
            subject.exists,
            operation.schema_id,
            [_left(context, change) for change in operation.changes],
        )
    access = schema.access(context.role, subject.state_id)
    visible = set(access.visible)
    is_gone = not subject.is_of_record and operation.made is None
    if is_gone and operation.type is not Action.CREATE and context.role:
        # In which state a record was that is gone, nobody knows any more.
        for state_id in (None, *(schema.workflow.states if schema.workflow else ())):
            visible &= schema.access(context.role, state_id).visible.keys()
    if purpose is Purpose.DECIDE:
        _check_may(context, operation, schema, access, subject.state_id)
    return Inspected(
        operation.id,
        subject.exists,
        schema.definition.id,
        list(_changes(context, purpose, operation, schema, visible, subject.values)),
    )


def _check_subject(operation: Operation, subject: _Subject) -> None:
    """Raise `NotFound` unless there is, or will be, what the operation changes."""
    if subject.schema is None:
        if operation.entity_id is not None and operation.schema_id is None:
            raise NotFound.of("Entity", operation.entity_id)
        raise NotFound.of("Schema", operation.schema_id or "")
    if operation.type is Action.CREATE or subject.exists or operation.schema_id is not None:
        return
    if operation.made is not None:
        return
    if operation.variant_id is not None:
        raise NotFound.of("Variant", operation.variant_id)


def _check_may(
    context: Context,
    operation: Operation,
    schema: CompiledSchema,
    access: Access,
    state_id: str | None,
) -> None:
    """Raise `PermissionDenied` unless the caller could make the change."""
    if operation.type is Action.DELETE:
        check_may_delete(context.role, schema)
    elif operation.type is Action.CREATE:
        check_may_create(context.role, schema, state_id)
    for place, change in enumerate(operation.changes):
        check_writable(place, change, schema, access)


def check_writable(place: int, change: Change, schema: CompiledSchema, access: Access) -> None:
    """Raise `PermissionDenied` for an attribute that the caller may not write."""
    attribute_id = schema.ids_by_name.get(change.attribute)
    if attribute_id is not None and attribute_id not in access.writable:
        raise _denied(place, change, "write")


def _changes(
    context: Context,
    purpose: Purpose,
    operation: Operation,
    schema: CompiledSchema,
    visible: Container[str],
    values: Mapping[str, Any],
) -> Iterator[InspectedChange | None]:
    for place, change in enumerate(operation.changes):
        attribute_id = schema.ids_by_name.get(change.attribute)
        if attribute_id is None:
            if purpose is Purpose.PROPOSE:
                raise ValidationError.at(
                    f"/changes/{place}/attribute",
                    f"Unknown attribute '{truncated(change.attribute)}'",
                )
            # It has left the schema since.
            yield _left(context, change)
            continue
        if attribute_id not in visible:
            if purpose is Purpose.PROPOSE:
                raise _denied(place, change, "read")
            yield None
            continue
        scope = _scope(place, change, schema, attribute_id, is_new=purpose is Purpose.PROPOSE)
        yield InspectedChange(
            attribute_id,
            schema.attributes[attribute_id].alias,
            scope,
            value_in(values.get(attribute_id, ()), scope),
        )


def _denied(place: int, change: Change, needed: str) -> PermissionDenied:
    why = f"The role needs the permission {shown(needed)} on attribute {shown(change.attribute)}"
    return PermissionDenied(violations=[Violation(f"/changes/{place}/attribute", why)])


def _scope(
    place: int, change: Change, schema: CompiledSchema, attribute_id: str, *, is_new: bool
) -> dict[str, str]:
    """The scope as it is stored; one that there is no more stays as it was proposed."""
    faults = Faults()
    scope = schema.checks[attribute_id].scope_of(
        {"scope": change.scope}, (("/changes", place), "scope"), faults
    )
    if scope is not None and not faults.found:
        return dict(scope)
    if is_new:
        faults.check()
    return dict(change.scope)


def _left(context: Context, change: Change) -> InspectedChange | None:
    """A change of what is not there any more: shown to those from whom nothing is hidden."""
    if context.role is not None:
        return None
    return InspectedChange(change.attribute, None, dict(change.scope), None)


def value_in(entries: Sequence[Mapping[str, Any]], scope: Mapping[str, str]) -> Any:
    """The value of exactly this scope, or None."""
    key = scope_key(scope)
    return next((one["value"] for one in entries if scope_key(one["scope"]) == key), None)

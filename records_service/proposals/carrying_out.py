"""Carries out the rows of a step, many with each statement, by the code of other writes.

Each function writes rows of one kind and tells what their operations did, by place. The error of an
operation that cannot be carried out names it. Records and variants are locked before they are
compared with the values that the proposal is based on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from records_service.blueprint.compiled_schema import Access, CompiledSchema
from records_service.bulk import commands as bulk
from records_service.bulk import deleting
from records_service.bulk.judging import record_of
from records_service.bulk.model import (
    BulkOutcome,
    Draft,
    Named,
    OnMatch,
    OnMissing,
    Options,
    Result,
)
from records_service.bulk.model import Row as BulkRow
from records_service.bulk.work import Work, plans_kept
from records_service.context import Context
from records_service.proposals import store
from records_service.proposals.inspecting import check_writable, located, value_in
from records_service.proposals.model import Applied, Change, Operation
from records_service.proposals.steps import Kind, Placed, Row
from records_service.values.entries import Values, same, scope_key
from records_service.values.validation import Faults
from records_service.variants import commands as variants
from records_service.variants.loading import load_with_ancestors
from records_service.variants.model import VariantChanges, VariantDraft
from records_service.writes.attempts import retry_on_stale
from records_service.writes.model import Variant
from shared.database import Conn, lent
from shared.errors import ApiError, Conflict, NotFound, ValidationError, Violation, truncated
from shared.http.messages import shown
from shared.ids import new_id

_CREATING: Final = Options(on_match=OnMatch.FAIL)
_UPDATING: Final = Options(on_missing=OnMissing.FAIL)

Done: TypeAlias = Mapping[int, Applied]
"""Place of an operation -> what it did."""


@dataclass(frozen=True, slots=True)
class Application:
    """The transaction in which a change set is applied; with `force`, over what has changed."""

    context: Context
    conn: Conn
    force: bool

    @asynccontextmanager
    async def single_writes(self) -> AsyncIterator[None]:
        """The commands of single writes are part of the transaction."""
        with lent(self.context.database, self.conn):
            async with plans_kept(self.conn):
                yield


async def create(application: Application, rows: Sequence[Row]) -> Done:
    """New records."""
    drafts = []
    for index, row in enumerate(rows):
        (one,) = row.operations
        operation = one.operation
        draft = Draft(
            id=operation.entity_id or new_id("ent"),
            schema_id=operation.schema_id,
            values=_grouped(operation.changes),
        )
        drafts.append(BulkRow(index, draft))
    results = await bulk.write_rows(application.context, drafts, _CREATING, application.conn)
    return _done(rows, results, {})


async def update(application: Application, rows: Sequence[Row]) -> Done:
    """New values of records."""
    context, conn = application.context, application.conn
    work = Work(context, conn, lock=True)
    blueprint = await work.blueprint()
    ids = [row.operations[0].operation.entity_id or "" for row in rows]
    stored = await work.records(sorted(ids), blueprint)
    wanted = {found.row["schema_id"] for found in stored.values()}
    schemas = await work.schemas(blueprint, sorted(wanted))

    def drafts() -> list[BulkRow]:
        drafted = []
        for index, (row, record_id) in enumerate(zip(rows, ids, strict=True)):
            found = stored.get(record_id)
            if found is None:
                raise _located(NotFound.of("Entity", record_id), row.operations[0])
            record = record_of(found)
            schema = schemas[record.schema_id]
            access = schema.access(context.role, record.state_id)
            values = _changed(row, record.values, schema, access, force=application.force)
            draft = Draft(id=record_id, schema_id=None, values=values)
            drafted.append(BulkRow(index, draft))
        return drafted

    rows_to_write = await work.run(drafts)
    results = await bulk.write_rows(context, rows_to_write, _UPDATING, conn)
    names = {
        record_id: schemas[found.row["schema_id"]].ids_by_name
        for record_id, found in stored.items()
    }
    return _done(rows, results, names)


async def delete(application: Application, rows: Sequence[Row]) -> Done:
    """Records that go."""
    ids = [row.operations[0].operation.entity_id or "" for row in rows]
    named = [Named(index, record_id) for index, record_id in enumerate(ids)]
    results = await deleting.delete_some(application.context, named, 0, application.conn)
    for one in results:
        if one.outcome is BulkOutcome.SKIPPED:
            raise _located(NotFound.of("Entity", ids[one.index]), rows[one.index].operations[0])
    return _done(rows, results, {})


def _done(
    rows: Sequence[Row], results: Sequence[Result], names: Mapping[str, Mapping[str, str]]
) -> Done:
    """What rows did; raises the error of the first that failed.

    `names` is record id -> what its schema calls its attributes.
    """
    done = {}
    for one in results:
        operations = rows[one.index].operations
        if one.error is not None:
            of_record = names.get(operations[0].operation.entity_id or "", {})
            raise _located(one.error, _culprit(operations, one.error, of_record))
        for place, operation in operations:
            entity_id = one.id or operation.entity_id or ""
            done[place] = Applied(operation.id, entity_id, None, one.version)
    return done


def _culprit(operations: Sequence[Placed], error: ApiError, names: Mapping[str, str]) -> Placed:
    """The operation of a row that an error is about: the last that changes what it points at."""
    pointer = error.violations[0].pointer if error.violations else ""
    name = pointer.split("/")[2] if pointer.startswith("/values/") else ""
    wanted = names.get(name, name)
    for placed in reversed(operations):
        if any(names.get(each.attribute) == wanted for each in placed.operation.changes):
            return placed
    return operations[-1]


def _located(error: ApiError, placed: Placed) -> ApiError:
    return located(error, f"/operations/{placed.place}", placed.operation.id)


def _grouped(changes: Sequence[Change]) -> dict[str, list[dict[str, Any]]]:
    """The values of something new, as a record is sent."""
    values: dict[str, list[dict[str, Any]]] = {}
    for change in changes:
        if change.new_value is not None:
            entry = {"scope": change.scope, "value": change.new_value}
            values.setdefault(change.attribute, []).append(entry)
    return values


def _changed(
    row: Row, old: Values, schema: CompiledSchema, access: Access, *, force: bool
) -> dict[str, Any]:
    """The entries of each attribute that a row of updates changes, as a record is sent."""
    values: dict[str, list[Any]] = {}
    for placed in row.operations:
        try:
            _change(values, placed.operation.changes, old, schema, access, force=force)
        except ApiError as error:
            raise _located(error, placed) from None
    return values


def _change(
    values: dict[str, list[Any]],
    changes: Sequence[Change],
    old: Values,
    schema: CompiledSchema,
    access: Access,
    *,
    force: bool,
) -> None:
    """Add to `values` what an operation changes of them and of the old ones.

    Raises `PermissionDenied` before anything is said about values, `ValidationError` for an
    attribute or a scope that there is not, and `Conflict` for a
    value that is neither the one that the proposal is based on nor the one that it proposes.
    """
    for place, change in enumerate(changes):
        check_writable(place, change, schema, access)
    for place, change in enumerate(changes):
        attribute_id = schema.ids_by_name.get(change.attribute)
        if attribute_id is None:
            raise ValidationError.at(
                f"/changes/{place}/attribute", f"Unknown attribute '{truncated(change.attribute)}'"
            )
        faults = Faults()
        scope = schema.checks[attribute_id].scope_of(
            {"scope": change.scope}, (("/changes", place), "scope"), faults
        )
        faults.check()
        assert scope is not None
        entries = values.get(attribute_id)
        if entries is None:
            entries = list(old.get(attribute_id, ()))
        now = value_in(entries, scope)
        if not force and not same(now, change.old_value) and not same(now, change.new_value):
            alias = schema.attributes[attribute_id].alias
            message = (
                f"Attribute '{truncated(alias)}' has changed since it was proposed: expected"
                f" {shown(change.old_value)}, got {shown(now)}"
            )
            raise _stale(place, message)
        key = scope_key(scope)
        kept = [entry for entry in entries if scope_key(entry["scope"]) != key]
        if change.new_value is not None:
            kept.append({"scope": dict(scope), "value": change.new_value})
        values[attribute_id] = kept


def _stale(place: int, message: str) -> Conflict:
    return Conflict(message, violations=[Violation(f"/changes/{place}/oldValue", message)])


async def create_variants(application: Application, rows: Sequence[Row]) -> Done:
    """New variants."""
    context, done = application.context, dict[int, Applied]()
    async with application.single_writes():
        for row in rows:
            (one,) = row.operations
            operation, record_id = one.operation, one.operation.entity_id or ""
            draft = VariantDraft(
                id=operation.variant_id,
                parent_id=operation.parent_id or record_id,
                values=_grouped(operation.changes),
            )
            try:
                made = (await variants.create(context, record_id, draft)).variant
            except ApiError as error:
                raise _located(error, one) from None
            done[one.place] = Applied(operation.id, record_id, made.id, made.version)
    return done


async def update_variants(application: Application, rows: Sequence[Row]) -> Done:
    """New values of variants."""
    context, done = application.context, dict[int, Applied]()
    ids = [_variant_of(row.operations[0].operation) for row in rows]
    await store.lock_variants(application.conn, context.workspace_id, sorted(ids))
    async with application.single_writes():
        for row in rows:
            changed = await _update_variant(context, row, force=application.force)
            for place, operation in row.operations:
                applied = Applied(operation.id, changed.record_id, changed.id, changed.version)
                done[place] = applied
    return done


@retry_on_stale
async def _update_variant(context: Context, row: Row, *, force: bool) -> Variant:
    first = row.operations[0]
    record_id, variant_id = first.operation.entity_id or "", _variant_of(first.operation)
    try:
        loaded = await load_with_ancestors(context, record_id, variant_id)
    except ApiError as error:
        raise _located(error, first) from None
    access = loaded.schema.access(context.role, loaded.record.state_id)
    values = _changed(row, loaded.variant.values, loaded.schema, access, force=force)
    try:
        changes = VariantChanges(values=values)
        return (await variants.change_loaded(context, loaded, changes, by_scope=False)).variant
    except ApiError as error:
        culprit = _culprit(row.operations, error, loaded.schema.ids_by_name)
        raise _located(error, culprit) from None


async def delete_variants(application: Application, rows: Sequence[Row]) -> Done:
    """Variants that go, with those below them."""
    context, done = application.context, dict[int, Applied]()
    async with application.single_writes():
        for row in rows:
            (one,) = row.operations
            record_id, variant_id = one.operation.entity_id or "", _variant_of(one.operation)
            try:
                await variants.delete_from_row(context, variant_id, record_id)
            except ApiError as error:
                raise _located(error, one) from None
            done[one.place] = Applied(one.operation.id, record_id, variant_id, None)
    return done


def _variant_of(operation: Operation) -> str:
    return operation.variant_id or ""


WRITERS: Final[Mapping[Kind, Callable[[Application, Sequence[Row]], Awaitable[Done]]]] = {
    Kind.CREATE: create,
    Kind.UPDATE: update,
    Kind.CREATE_VARIANT: create_variants,
    Kind.UPDATE_VARIANT: update_variants,
    Kind.DELETE_VARIANT: delete_variants,
    Kind.DELETE: delete,
}

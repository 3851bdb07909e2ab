"""Applies a change set: all of its operations in one transaction, once.

    begin     the row of this attempt; whoever finds it there gets what the attempt did
    run       operations of one kind that follow each other: written as a bulk call writes them
    variants  one by one, as single calls write them
    keep      what was done, in the row of the attempt

Everything runs by the code of the other writes, as the caller: rights, validation, unique values,
limits, history and events are theirs. Records are locked before they are compared with the values
that the proposal is based on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from records_service.blueprint.compiled_schema import Access, CompiledSchema
from records_service.bulk import commands as bulk
from records_service.bulk import deleting
from records_service.bulk.calls import one_of_few
from records_service.bulk.judging import record_of
from records_service.bulk.model import (
    BulkOutcome,
    Draft,
    Named,
    OnMatch,
    OnMissing,
    Options,
    Result,
    Row,
)
from records_service.bulk.work import STALE, WAVE_ROWS, Work, make_current, transaction
from records_service.context import Context
from records_service.proposals import store
from records_service.proposals.inspecting import check_writable, located, value_in
from records_service.proposals.model import Action, Applied, Change, Operation
from records_service.values.entries import Values, same, scope_key
from records_service.values.validation import Faults
from records_service.variants import commands as variants
from records_service.variants.loading import load_variant
from records_service.variants.model import VariantChanges, VariantDraft
from records_service.writes.create_batching import WRITE_SLOTS
from shared.database import Conn, lent
from shared.errors import (
    ApiError,
    Conflict,
    NotFound,
    ServiceUnavailable,
    ValidationError,
    Violation,
    truncated,
)
from shared.http.messages import shown
from shared.ids import new_id
from shared.messaging import outbox

RESTARTS_MAX: Final = 5
PAUSE_S: Final = 0.2
_CREATING: Final = Options(on_match=OnMatch.FAIL)
_UPDATING: Final = Options(on_missing=OnMissing.FAIL)


async def apply(
    context: Context,
    change_set_id: str,
    attempt: int,
    operations: Sequence[Operation],
    *,
    force: bool,
) -> dict[str, Any] | None:
    """What each operation did, in their order (`results`), and for whom (`userId`).

    The same again for an attempt that was made before; None for one that was withdrawn.

    Raises the error of the first operation that cannot be carried out, with nothing written: its
    message names the operation. `Conflict` for a value that is no longer the one that the proposal
    is based on, unless `force`.
    """
    workspace_id, user_id = context.workspace_id, context.identity.id
    async with one_of_few(context):
        for _ in range(RESTARTS_MAX):
            context.call.waited_s = 0.0
            try:
                async with (
                    context.app[WRITE_SLOTS].of(workspace_id),
                    transaction(context) as conn,
                ):
                    if not await store.begin(conn, workspace_id, change_set_id, attempt, user_id):
                        return await store.done(conn, workspace_id, change_set_id, attempt)
                    await store.name_change_set(conn, change_set_id)
                    applied = await _all(context, conn, operations, force=force)
                    results = [one.public() for one in applied]
                    await store.keep_results(conn, workspace_id, change_set_id, attempt, results)
            except STALE as stale:
                await make_current(context, stale)
                await asyncio.sleep(PAUSE_S)
                continue
            outbox.wake(context.app)
            return {"results": results, "userId": user_id}
    raise ServiceUnavailable("The records or the data model are being changed at the moment")


async def withdraw(context: Context, change_set_id: str, attempt: int) -> dict[str, Any] | None:
    """See to it that this attempt is never made; what it did if it was made before.

    Waits for a transaction that is just making it.
    """
    async with context.database.transaction() as conn:
        user_id = context.identity.id
        if await store.begin(conn, context.workspace_id, change_set_id, attempt, user_id):
            return None
        return await store.done(conn, context.workspace_id, change_set_id, attempt)


async def _all(
    context: Context, conn: Conn, operations: Sequence[Operation], *, force: bool
) -> list[Applied]:
    applied: list[Applied] = []
    while len(applied) < len(operations):
        context.call.waited_s = 0.0
        start = len(applied)
        run = _next_run(operations, start)
        first = run[0]
        if first.is_of_variant:
            with lent(context.database, conn):
                applied.append(await _variant(context, conn, first, start, force=force))
        elif first.type is Action.DELETE:
            applied += await _delete(context, conn, run, start)
        elif first.type is Action.CREATE:
            applied += await _create(context, conn, run, start)
        else:
            applied += await _update(context, conn, run, start, force=force)
    return applied


def _next_run(operations: Sequence[Operation], start: int) -> list[Operation]:
    """Operations of one kind on different records, or one on a variant."""
    run: list[Operation] = []
    named: set[str] = set()
    for one in operations[start : start + WAVE_ROWS]:
        if run and (one.is_of_variant or one.type is not run[0].type or one.entity_id in named):
            break
        run.append(one)
        if one.is_of_variant:
            break
        if one.entity_id is not None:
            named.add(one.entity_id)
    return run


async def _create(
    context: Context, conn: Conn, run: Sequence[Operation], start: int
) -> list[Applied]:
    rows = []
    for index, one in enumerate(run):
        draft = Draft(
            id=one.entity_id or new_id("ent"),
            schema_id=one.schema_id,
            values=_grouped(one.changes),
        )
        rows.append(Row(index, draft))
    results = await bulk.write_rows(context, rows, _CREATING, conn)
    return _applied(run, results, start)


def _grouped(changes: Sequence[Change]) -> dict[str, list[dict[str, Any]]]:
    """The values of something new, as a record is sent."""
    values: dict[str, list[dict[str, Any]]] = {}
    for change in changes:
        if change.new_value is not None:
            entry = {"scope": change.scope, "value": change.new_value}
            values.setdefault(change.attribute, []).append(entry)
    return values


async def _update(
    context: Context, conn: Conn, run: Sequence[Operation], start: int, *, force: bool
) -> list[Applied]:
    work = Work(context, conn, lock=True)
    blueprint = await work.blueprint()
    ids = [one.entity_id or "" for one in run]
    stored = await work.records(sorted(ids), blueprint)
    wanted = {found.row["schema_id"] for found in stored.values()}
    schemas = await work.schemas(blueprint, sorted(wanted))

    def drafts() -> list[Row]:
        rows = []
        for index, (one, record_id) in enumerate(zip(run, ids, strict=True)):
            try:
                if record_id not in stored:
                    raise NotFound.of("Entity", record_id)
                record = record_of(stored[record_id])
                schema = schemas[record.schema_id]
                access = schema.access(context.role, record.state_id)
                values = _changed(one.changes, record.values, schema, access, force=force)
            except ApiError as error:
                raise located(error, f"/operations/{start + index}", one.id) from None
            rows.append(Row(index, Draft(id=record_id, schema_id=None, values=values)))
        return rows

    rows = await work.run(drafts)
    results = await bulk.write_rows(context, rows, _UPDATING, conn)
    return _applied(run, results, start)


def _changed(
    changes: Sequence[Change],
    old: Values,
    schema: CompiledSchema,
    access: Access,
    *,
    force: bool,
) -> dict[str, Any]:
    """The entries of each attribute that changes, as a record is sent.

    Raises `PermissionDenied` before anything is said about values, `ValidationError` for an
    attribute or a scope that there is not, and `Conflict` for a
    value that is neither the one that the proposal is based on nor the one that it proposes.
    """
    values: dict[str, list[Any]] = {}
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
    return values


def _stale(place: int, message: str) -> Conflict:
    return Conflict(message, violations=[Violation(f"/changes/{place}/oldValue", message)])


async def _delete(
    context: Context, conn: Conn, run: Sequence[Operation], start: int
) -> list[Applied]:
    named = [Named(index, one.entity_id or "") for index, one in enumerate(run)]
    results = await deleting.delete_some(context, named, 0, conn)
    for one in results:
        if one.outcome is BulkOutcome.SKIPPED:
            operation = run[one.index]
            missing = NotFound.of("Entity", operation.entity_id or "")
            raise located(missing, f"/operations/{start + one.index}", operation.id)
    return _applied(run, results, start)


def _applied(run: Sequence[Operation], results: Sequence[Result], start: int) -> list[Applied]:
    """What a run did; raises the error of the first operation that failed."""
    applied = []
    for one in results:
        operation = run[one.index]
        if one.error is not None:
            raise located(one.error, f"/operations/{start + one.index}", operation.id)
        entity_id = one.id or operation.entity_id or ""
        applied.append(Applied(operation.id, entity_id, None, one.version))
    return applied


async def _variant(
    context: Context, conn: Conn, operation: Operation, place: int, *, force: bool
) -> Applied:
    record_id, variant_id = operation.entity_id or "", operation.variant_id
    try:
        if operation.type is Action.CREATE:
            draft = VariantDraft(
                id=variant_id,
                parent_id=operation.parent_id or record_id,
                values=_grouped(operation.changes),
            )
            made = await variants.create(context, record_id, draft)
            return Applied(operation.id, record_id, made.variant.id, made.variant.version)
        variant_id = variant_id or ""
        await store.lock_variants(conn, context.workspace_id, [variant_id])
        if operation.type is Action.DELETE:
            await variants.delete(context, variant_id, record_id)
            return Applied(operation.id, record_id, variant_id, None)
        loaded = await load_variant(context, record_id, variant_id)
        access = loaded.schema.access(context.role, loaded.record.state_id)
        known = loaded.variant.values
        values = _changed(operation.changes, known, loaded.schema, access, force=force)
        changed = await variants.update_from_row(
            context, variant_id, record_id, VariantChanges(values=values), by_scope=False
        )
        return Applied(operation.id, record_id, variant_id, changed.variant.version)
    except ApiError as error:
        raise located(error, f"/operations/{place}", operation.id) from None

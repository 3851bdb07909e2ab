"""Creates, updates and deletes records: load, apply, compare, write (see `writes.attempts`)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import orjson

from records_service.blueprint.blueprint import BLUEPRINTS, Blueprint
from records_service.blueprint.compiled_schema import CompiledSchema, compiled_schema
from records_service.context import Context
from records_service.permissions.rules import Role
from records_service.records import store as records
from records_service.records.fixed_fields import check_fixed_fields, check_state, key_after
from records_service.records.loading import LoadedRecord, load_options, load_record
from records_service.records.model import RecordChanges, RecordDraft, ValueChange
from records_service.records.relations import check_relations, find_related
from records_service.search_index.changes import change_in, indexed_in
from records_service.search_texts.notes import note_of
from records_service.values.entries import Values
from records_service.values.relations import Related
from records_service.writes import effects, store
from records_service.writes.attempts import (
    one_at_a_time,
    retry_on_stale,
    taken_keys_are_conflicts,
    writing,
)
from records_service.writes.changes import (
    changed_unique_keys,
    differences,
    key_change,
    merged,
    unique_keys,
    with_value,
)
from records_service.writes.create_batching import store_new
from records_service.writes.marking import mark, unmarked
from records_service.writes.merging import changes_since
from records_service.writes.model import (
    PendingCreate,
    QuotaExceeded,
    Record,
    StaleModel,
    Write,
)
from records_service.writes.quota import any_stripe
from shared.errors import (
    Conflict,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    ValidationError,
)
from shared.identity import Identity
from shared.ids import new_id
from shared.process.offload import Large


async def create(context: Context, draft: RecordDraft) -> LoadedRecord:
    """Store a new record in the first state of its workflow.

    Raises `NotFound` for the schema, `PermissionDenied`, `ValidationError`, `LimitExceeded`, or
    `Conflict` for a taken id or unique value.
    """
    record_id = draft.id or new_id("ent")
    try:
        return await _create(context, draft, record_id)
    except QuotaExceeded:
        if draft.id is not None:
            # If an earlier attempt of this request stored it, the caller must hear that.
            async with context.database.acquire() as conn:
                if await records.schema_ids_of(conn, context.workspace_id, [draft.id]):
                    raise Conflict.taken("Entity", draft.id) from None
        limit = context.identity.record_limit
        raise LimitExceeded(f"Entity limit of {limit} reached") from None


@retry_on_stale
async def _create(context: Context, draft: RecordDraft, record_id: str) -> LoadedRecord:
    # Asking for the current version of the model first would cost a round trip, nearly always in
    # vain: the statement refuses a record that was checked against an old model. What the known
    # model refuses is checked once more, against the current one.
    blueprints, workspace_id = context.app[BLUEPRINTS], context.workspace_id
    known = blueprints.known(workspace_id)
    if known is not None:
        with suppress(StaleModel, NotFound, PermissionDenied, ValidationError):
            return await _create_under(context, draft, record_id, known)
    current = await blueprints.get(context.database, workspace_id)
    return await _create_under(context, draft, record_id, current)


async def _create_under(
    context: Context, draft: RecordDraft, record_id: str, blueprint: Blueprint
) -> LoadedRecord:
    schema = await compiled_schema(blueprint, blueprint.schema_id_of(draft.schema_id))
    state_id = first_state(schema)
    state = schema.state_of(state_id)
    if draft.lifecycle_state_id is not None:
        check_state(context.identity, draft.lifecycle_state_id, state_id, state)
    check_may_create(context.role, schema, state_id)
    is_large = context.has_large_body
    options = await load_options(context, schema, draft.values, is_large=is_large)
    values = await context.run(
        is_large,
        merged,
        {},
        draft.values,
        schema,
        context.role,
        state,
        is_new=True,
        may_read=context.identity.may_read,
        options=options,
    )
    await check_relations(context, schema, {}, values, is_large=is_large)
    now = effects.now()
    record = Record(
        workspace_id=context.workspace_id,
        id=record_id,
        schema_id=schema.definition.id,
        state_id=state_id,
        version=1 if draft.id is None else await _first_version(context, draft.id),
        values=Large(values) if is_large else values,
        created_at=now,
        updated_at=now,
        created_by=context.identity.id,
        updated_by=context.identity.id,
        external_key=draft.external_key,
    )
    pending = await context.run(
        is_large, pending_of, record, schema, id_was_asked=draft.id is not None
    )
    await mark(
        context.database,
        context.workspace_id,
        unmarked(schema, "records", record_id, values),
    )
    async with taken_keys_are_conflicts(context, record, schema, pending.unique_keys):
        await store_new(context, pending, blueprint.version)
    return LoadedRecord(record, blueprint, schema, state)


@one_at_a_time("change")
@retry_on_stale
async def update(context: Context, record_id: str, changes: RecordChanges) -> LoadedRecord:
    """Replace the attributes that are named, keep all others; the record as it is afterwards.

    Raises `NotFound`, `PermissionDenied`, `PreconditionFailed`, `ValidationError`, or `Conflict`
    for a taken unique value.
    """
    loaded = await load_record(context, record_id)
    version, since = loaded.record.version, None
    if not context.has_seen(version):
        since = await changes_since(context, "Entity", record_id, version)
    if since is not None:
        since.check_state("lifecycle_state_id" in changes.model_fields_set)
    is_large = context.has_large_body or isinstance(loaded.record.values, Large)
    check_fixed_fields(context.identity, loaded.record, loaded.schema, loaded.state, changes)
    related = await _related_of_required(context, loaded, is_large=is_large)
    options = await load_options(context, loaded.schema, changes.values, is_large=is_large)
    values = await context.run(
        is_large,
        merged,
        loaded.record.values,
        changes.values,
        loaded.schema,
        context.role,
        loaded.state,
        may_read=context.identity.may_read,
        related=related,
        options=options,
    )
    key = key_after(context.role, loaded.schema, loaded.record, loaded.state, changes)
    if since is not None:
        known = loaded.record
        key = since.external_key(known.external_key, key)
        values = await context.run(
            is_large, since.values, loaded.schema, known.values, values, changes.values
        )
    return await save(context, loaded, values, key, is_large=is_large)


@one_at_a_time("change")
@retry_on_stale
async def set_value(
    context: Context, record_id: str, name: str, change: ValueChange
) -> LoadedRecord:
    """Set or remove one attribute's value in one scope; the record as it is afterwards.

    Raises what `update` raises; `NotFound` also for an attribute that the schema does not have.
    """
    loaded = await load_record(context, record_id)
    version, since = loaded.record.version, None
    if not context.has_seen(version):
        since = await changes_since(context, "Entity", record_id, version)
    is_large = context.has_large_body or isinstance(loaded.record.values, Large)
    related = await _related_of_required(context, loaded, is_large=is_large)
    options = await load_options(context, loaded.schema, change.of(name), is_large=is_large)
    values = await context.run(
        is_large,
        with_value,
        loaded.record.values,
        name,
        change.scope,
        change.value,
        loaded.schema,
        context.role,
        loaded.state,
        related,
        may_read=context.identity.may_read,
        options=options,
    )
    if since is not None:
        values = await context.run(
            is_large, since.values, loaded.schema, loaded.record.values, values
        )
    return await save(context, loaded, values, loaded.record.external_key, is_large=is_large)


@one_at_a_time("change")
@retry_on_stale
async def delete(context: Context, record_id: str) -> None:
    """Delete a record; its history stays.

    The role must be able to write at least one attribute of the schema, and see all of them.
    Raises `NotFound`, `PermissionDenied` or `PreconditionFailed`.
    """
    loaded = await load_record(context, record_id)
    check_may_delete(context.role, loaded.schema)
    context.check_version("Entity", record_id, loaded.record.version)
    deleted = replace(loaded.record, version=loaded.record.version + 1)
    write = await context.run(
        isinstance(deleted.values, Large), delete_of, context.identity, deleted, loaded.schema
    )
    async with writing(context, loaded.record, loaded.schema) as conn:
        await store.delete(
            conn,
            loaded.record,
            write,
            effects.variants_delete_of(
                context.identity, deleted, loaded.schema.names_in_variants, write.at
            ),
            model_version=loaded.blueprint.version,
            stripe=any_stripe(),
        )


async def save(
    context: Context,
    loaded: LoadedRecord,
    values: Values,
    external_key: str | None,
    *,
    is_large: bool,
) -> LoadedRecord:
    """Store new values and the external key of a loaded record, unless nothing differs."""
    schema, old = loaded.schema, loaded.record.values
    await check_relations(context, schema, old, values, is_large=is_large)
    changes = await context.run(is_large, differences, old, values, schema)
    changes += key_change(loaded.record.external_key, external_key)
    if not changes:
        return loaded
    record = replace(
        loaded.record,
        values=Large(values) if is_large else values,
        version=loaded.record.version + 1,
        updated_at=effects.now(loaded.record.updated_at),
        updated_by=context.identity.id,
        external_key=external_key,
    )
    released, added = await context.run(is_large, changed_unique_keys, schema, old, values)
    write = await context.run(is_large, effects.update_of, context.identity, record, changes)
    index_change = await context.run(is_large, change_in, schema, record.id, old, values)
    note = await context.run(is_large, note_of, schema, old, values)
    missing = unmarked(schema, "records", record.id, values)
    await mark(context.database, context.workspace_id, missing)
    async with writing(context, record, schema, added) as conn:
        await store.update(
            conn,
            record,
            released,
            added,
            write,
            model_version=loaded.blueprint.version,
            index_change=index_change,
            note=note,
        )
    return replace(loaded, record=record)


async def _related_of_required(
    context: Context, loaded: LoadedRecord, *, is_large: bool
) -> Related:
    """The records that required relations name: only these attributes cannot be emptied."""
    old = loaded.record.values
    required = {i: old[i] for i in loaded.schema.required_relations if i in old}
    return await find_related(context, [(required, loaded.schema)], is_large=is_large)


async def _first_version(context: Context, record_id: str) -> int:
    async with context.database.acquire() as conn:
        return await store.first_version(conn, context.workspace_id, record_id)


def pending_of(record: Record, schema: CompiledSchema, *, id_was_asked: bool) -> PendingCreate:
    """A new record with all that is stored beside it."""
    changes = orjson.dumps(
        differences({}, record.values, schema) + key_change(None, record.external_key)
    )
    effects.check_create(record, changes)
    return PendingCreate(
        record=record,
        id_was_asked=id_was_asked,
        document=orjson.dumps(record.values),
        unique_keys=unique_keys(schema, record.values),
        changes=changes,
        event_id=new_id("evt"),
        indexed=indexed_in(schema, record.id, record.values),
    )


def delete_of(identity: Identity, deleted: Record, schema: CompiledSchema) -> Write:
    """The effects of a delete; the record has the version that follows its last one."""
    changes = differences(deleted.values, {}, schema) + key_change(deleted.external_key, None)
    return effects.delete_of(identity, deleted, changes)


def first_state(schema: CompiledSchema) -> str | None:
    """The first state of the workflow; `StaleModel` while the workflow is being changed."""
    if schema.workflow is None:
        return None
    state_id = schema.workflow.default_state_id
    if state_id in schema.workflow.retired:
        # The workflow is about to have another first state, which is not known here yet.
        raise StaleModel
    return state_id


def check_may_create(role: Role | None, schema: CompiledSchema, state_id: str | None) -> None:
    """Raise `PermissionDenied` unless the role may write an attribute of a new record."""
    if role is not None and not schema.access(role, state_id).writable:
        raise PermissionDenied.because(
            "The role needs the permission 'write' on an attribute of the schema"
        )


def check_may_delete(role: Role | None, schema: CompiledSchema) -> None:
    """Raise `PermissionDenied` unless the role may delete records of the schema.

    What only the state hides was hidden by no rule about this role.
    """
    access = schema.access(role, None)
    if role is not None and not (access.writable and access.sees_all):
        raise PermissionDenied.because(
            "The role needs the permission 'write' on an attribute of the schema,"
            " and 'read' or 'write' on all others"
        )

"""Writes of records: read, validate, then one conditional statement (optimistic locking).

Nothing is locked while values are checked. The statement names the versions of the model and of the
record that were looked at; if either moved, the command starts again from what is there now. So two
people who set two locales of one attribute both keep theirs.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import asyncpg
import orjson
from aiohttp import web

from records_service.blueprint.blueprint import BLUEPRINTS, Blueprint
from records_service.blueprint.compiled_schema import CompiledSchema, compiled_schema
from records_service.model_objects.commands import SOURCE
from records_service.permissions.rules import Role
from records_service.records import store
from records_service.records.loading import LoadedRecord, load_record, related_of
from records_service.records.model import Record, RecordChanges, RecordDraft, ValueChange
from records_service.records.store import (
    PendingCreate,
    QuotaExceeded,
    StaleModel,
    StaleRecord,
    StripeExhausted,
    Write,
    any_stripe,
)
from records_service.transitions import decisions
from records_service.values.relations import Related, Relation
from records_service.values.scopes import Values
from records_service.values.unique_keys import UniqueKey, unique_keys_of
from records_service.workflow_copies.model import State
from records_service.writes.changes import Change, differences, merged, with_value
from records_service.writes.create_batching import CREATE_BATCHER, WRITE_SLOTS, Shared
from shared.database import DATABASE, Conn
from shared.errors import (
    Conflict,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    ServiceUnavailable,
    ValidationError,
    Violation,
    truncated,
)
from shared.events import ENTITY_CREATED, ENTITY_DELETED, ENTITY_TRANSITION, ENTITY_UPDATED, Event
from shared.http.messages import shown
from shared.http.versions import Versions, check_version
from shared.identity import Identity
from shared.ids import new_id
from shared.messaging import outbox
from shared.process.keyed_semaphore import KeyedSemaphore
from shared.process.offload import OFFLOAD, Large

RECORD_SLOTS = web.AppKey("record_turns", KeyedSemaphore)
"""One change of a record at a time in each process: the others would be in vain."""
CHANGE_SLOTS = web.AppKey("changers", KeyedSemaphore)
"""How many changes of one workspace are judged at a time, and wait for a place among `WRITE_SLOTS`.

Twice as many as those: enough that some write while others read, and so few that what was read is
still true when it is written.
"""
ATTEMPTS_MAX = 100
PAUSE_S = 0.002

T = TypeVar("T")


class UniqueKeyReleased(Exception):
    """A unique value was taken and is free again; try once more."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who writes, with what role (None: unrestricted), and which version they mean, if they say."""

    identity: Identity
    role: Role | None
    if_match: Versions = None

    def check_version(self, record: Record) -> None:
        """Raise `PreconditionFailed` when `If-Match` names another version than the stored one."""
        check_version("Entity", record.id, record.version, self.if_match)


async def create(
    app: web.Application, caller: Caller, draft: RecordDraft, *, is_large: bool = False
) -> LoadedRecord:
    """Store a new record in its workflow's first state; one that is large is judged in a thread.

    Raises `NotFound` for the schema, `PermissionDenied`, `ValidationError`, `LimitExceeded`, or
    `Conflict` for a taken id or unique value.
    """
    identity = caller.identity
    record_id = draft.id or new_id("ent")

    async def judged_by(blueprint: Blueprint) -> LoadedRecord:
        rules = await compiled_schema(blueprint, draft.schema_id)
        state_id = rules.lifecycle.default_state_id if rules.lifecycle else None
        if rules.lifecycle is not None and state_id in rules.lifecycle.retired:
            # The workflow is about to have another first state: wait a moment for the news of it.
            raise StaleModel
        state = rules.state_of(state_id)
        if draft.lifecycle_state_id is not None:
            _check_state(caller, draft.lifecycle_state_id, state_id, state)
        if caller.role is not None and not rules.access(caller.role, state_id).writable:
            raise PermissionDenied.because(
                "The role needs the permission 'write' on an attribute of the schema"
            )
        values = await app[OFFLOAD].run_if(
            is_large,
            identity.workspace_id,
            merged,
            {},
            draft.values,
            rules,
            caller.role,
            state,
            is_new=True,
            may_read=identity.may_read,
        )
        await _check_relations(app, identity.workspace_id, rules, {}, values, is_large=is_large)
        now = _now()
        record = Record(
            workspace_id=identity.workspace_id,
            id=record_id,
            schema_id=rules.schema.id,
            state_id=state_id,
            version=await _first_version(app, identity.workspace_id, draft.id),
            values=Large(values) if is_large else values,
            created_at=now,
            updated_at=now,
            created_by=identity.id,
            updated_by=identity.id,
        )
        arrival = await app[OFFLOAD].run_if(
            is_large,
            identity.workspace_id,
            _arrival,
            identity,
            record,
            rules,
            id_was_asked=draft.id is not None,
        )
        async with _unique(app, record, rules, arrival.claims):
            await _insert(app, identity, arrival, blueprint.version)
        return LoadedRecord(record, blueprint, rules, state)

    async def attempt() -> LoadedRecord:
        # Asking for the model's version first would cost a round trip that is nearly always in
        # vain: the statement itself refuses what was judged by an old model. A refusal is only told
        # by the model in force.
        known = app[BLUEPRINTS].known(identity.workspace_id)
        if known is not None:
            with suppress(StaleModel, NotFound, PermissionDenied, ValidationError):
                return await judged_by(known)
        return await judged_by(await app[BLUEPRINTS].get(app[DATABASE], identity.workspace_id))

    try:
        return await settled(app, attempt)
    except QuotaExceeded:
        if draft.id is not None:
            # Created before, perhaps by this very request: that is what its sender must hear.
            async with app[DATABASE].acquire() as conn:
                if await store.existing(conn, identity.workspace_id, [draft.id]):
                    raise Conflict.taken("Entity", draft.id) from None
        raise LimitExceeded(f"Entity limit of {identity.record_limit} reached") from None


def _arrival(
    identity: Identity, record: Record, rules: CompiledSchema, *, id_was_asked: bool
) -> PendingCreate:
    changes = differences({}, record.values, rules)
    write = _write("create", ENTITY_CREATED, identity, record, changes, record.created_at)
    document = orjson.dumps(record.values)
    return PendingCreate(record, id_was_asked, document, _claims(rules, record.values), write)


async def _first_version(app: web.Application, workspace_id: str, asked_id: str | None) -> int:
    if asked_id is None:
        return 1
    async with app[DATABASE].acquire() as conn:
        return await store.first_version(conn, workspace_id, asked_id)


async def _insert(
    app: web.Application, identity: Identity, arrival: PendingCreate, model_version: int
) -> None:
    """Store it with those that arrive in the same moment, or by itself where that fails."""
    workspace_id, limit = identity.workspace_id, identity.record_limit
    try:
        await app[CREATE_BATCHER].store(Shared(workspace_id, model_version, limit), arrival)
    except StripeExhausted:
        stripe = any_stripe()
        async with app[WRITE_SLOTS].of(workspace_id), app[DATABASE].transaction() as conn:
            await store.redistribute_quota(conn, workspace_id, limit, stripe)
            await store.insert(
                conn, [arrival], model_version=model_version, record_limit=limit, stripe=stripe
            )


async def change(
    app: web.Application,
    caller: Caller,
    record_id: str,
    changes: RecordChanges,
    *,
    is_large: bool = False,
) -> LoadedRecord:
    """Replace the attributes that are named, keep all others; the record as it is afterwards."""

    def new_values(seen: LoadedRecord, related: Related) -> Values:
        record = seen.record
        if changes.schema_id is not None and changes.schema_id != record.schema_id:
            raise ValidationError.at(
                "/schemaId",
                f"Field 'schemaId' cannot change:{_expected(caller, record.schema_id)}"
                f" got '{truncated(changes.schema_id)}'",
            )
        if "lifecycle_state_id" in changes.model_fields_set:
            _check_state(caller, changes.lifecycle_state_id, record.state_id, seen.state)
        return merged(
            record.values,
            changes.values,
            seen.rules,
            caller.role,
            seen.state,
            may_read=caller.identity.may_read,
            related=related,
        )

    return await _rewrite(app, caller, record_id, new_values, is_large=is_large)


async def set_value(
    app: web.Application,
    caller: Caller,
    record_id: str,
    name: str,
    change_: ValueChange,
    *,
    is_large: bool = False,
) -> LoadedRecord:
    """Set or remove one attribute's value in one scope; the record as it is afterwards."""

    def new_values(seen: LoadedRecord, related: Related) -> Values:
        return with_value(
            seen.record.values,
            name,
            change_.scope,
            change_.value,
            seen.rules,
            caller.role,
            seen.state,
            related,
            may_read=caller.identity.may_read,
        )

    return await _rewrite(app, caller, record_id, new_values, is_large=is_large)


async def delete(app: web.Application, caller: Caller, record_id: str) -> None:
    """Delete a record; its history stays.

    The role must be able to write at least one attribute of the schema, and see all of them.
    """
    identity = caller.identity

    async def attempt() -> None:
        seen = await load_record(app, identity.workspace_id, record_id)
        # What only the state hides was hidden by no rule about this role.
        access = seen.rules.access(caller.role, None)
        if caller.role is not None and not (access.writable and access.sees_all):
            raise PermissionDenied.because(
                "The role needs the permission 'write' on an attribute of the schema,"
                " and 'read' or 'write' on all others"
            )
        caller.check_version(seen.record)
        gone = replace(seen.record, version=seen.record.version + 1)
        write = await app[OFFLOAD].run_if(
            isinstance(gone.values, Large),
            identity.workspace_id,
            _removal,
            identity,
            gone,
            seen.rules,
        )
        async with writing(app, identity) as conn:
            await store.delete(
                conn,
                seen.record,
                write,
                model_version=seen.blueprint.version,
                stripe=any_stripe(),
            )

    async with _turn(app, identity, record_id, "change"):
        await settled(app, attempt)


def _removal(identity: Identity, gone: Record, rules: CompiledSchema) -> Write:
    changes = differences(gone.values, {}, rules)
    return _write("delete", ENTITY_DELETED, identity, gone, changes, _now())


async def move(
    app: web.Application,
    caller: Caller,
    record_id: str,
    state_name: str,
    comment: str | None,
    decide: Callable[[LoadedRecord, str], Awaitable[None]],
) -> LoadedRecord:
    """Take a record to another lifecycle state, if `decide` raises nothing about it.

    The decision is made about one version of the record, and only that version is moved.
    """
    identity = caller.identity

    async def attempt() -> LoadedRecord:
        seen = await load_record(app, identity.workspace_id, record_id)
        caller.check_version(seen.record)
        to_state_id = decisions.target(seen.rules, seen.record, state_name)
        await decide(seen, to_state_id)
        record = replace(
            seen.record,
            state_id=to_state_id,
            version=seen.record.version + 1,
            updated_at=_now(),
            updated_by=identity.id,
        )
        write = _write(
            "transition",
            ENTITY_TRANSITION,
            identity,
            record,
            [],
            record.updated_at,
            from_state_id=seen.record.state_id,
            to_state_id=to_state_id,
            comment=comment,
        )
        async with writing(app, identity) as conn:
            await store.update(conn, record, [], [], write, model_version=seen.blueprint.version)
        return replace(seen, record=record, state=seen.rules.state_of(to_state_id))

    # Of a kind of its own: workflow_service is asked meanwhile, which may be slow.
    async with _turn(app, identity, record_id, "transition"):
        return await settled(app, attempt)


async def _rewrite(
    app: web.Application,
    caller: Caller,
    record_id: str,
    new_values: Callable[[LoadedRecord, Related], Values],
    *,
    is_large: bool,
) -> LoadedRecord:
    """Store what `new_values` makes of the record.

    Where the record is large, or what was sent, all work on values is done in a thread.
    """
    identity, offload = caller.identity, app[OFFLOAD]
    share = identity.workspace_id

    async def attempt() -> LoadedRecord:
        seen = await load_record(app, share, record_id)
        caller.check_version(seen.record)
        old = seen.record.values
        much = is_large or isinstance(old, Large)
        # Only those that must not be emptied ask what they hold.
        required = {i: old[i] for i in seen.rules.required_relations if i in old}
        related = await related_of(app, share, [(required, seen.rules)], is_large=much)
        values = await offload.run_if(much, share, new_values, seen, related)
        await _check_relations(app, share, seen.rules, old, values, is_large=much)
        changes = await offload.run_if(much, share, differences, old, values, seen.rules)
        if not changes:
            return seen
        record = replace(
            seen.record,
            values=Large(values) if much else values,
            version=seen.record.version + 1,
            updated_at=_now(),
            updated_by=identity.id,
        )
        freed, claims = await offload.run_if(much, share, _moved_claims, seen.rules, old, values)
        write = await offload.run_if(
            much,
            share,
            _write,
            "update",
            ENTITY_UPDATED,
            identity,
            record,
            changes,
            record.updated_at,
        )
        async with _unique(app, record, seen.rules, claims), writing(app, identity) as conn:
            await store.update(
                conn, record, freed, claims, write, model_version=seen.blueprint.version
            )
        return replace(seen, record=record)

    async with _turn(app, identity, record_id, "change"):
        return await settled(app, attempt)


@asynccontextmanager
async def _turn(
    app: web.Application, identity: Identity, record_id: str, kind: str
) -> AsyncIterator[None]:
    """The turn to read a record, judge a change of it and write it.

    It is waited for before the record is read: what was read before is old by then, and the write
    would be in vain.
    """
    workspace_id = identity.workspace_id
    async with (
        app[RECORD_SLOTS].of((workspace_id, record_id)),
        app[CHANGE_SLOTS].of((workspace_id, kind)),
    ):
        yield


async def settled(app: web.Application, attempt: Callable[[], Awaitable[T]]) -> T:
    """Try until no other write gets in between, then wake the relay.

    Each failed try means that another writer got through, so this ends; the pause, which grows a
    little, keeps many writers of one record from trying in step.
    """
    for number in range(ATTEMPTS_MAX):
        try:
            result = await attempt()
        except (StaleModel, StaleRecord, UniqueKeyReleased, asyncpg.DeadlockDetectedError):
            await asyncio.sleep(random.uniform(0, PAUSE_S * min(number, 8)))  # noqa: S311
            continue
        outbox.wake(app)
        return result
    raise ServiceUnavailable("The record or the data model is being changed at the moment")


@asynccontextmanager
async def writing(app: web.Application, identity: Identity) -> AsyncIterator[Conn]:
    """A connection for one statement that may have to wait for a change of the model.

    All writes of a workspace wait while its model is changed, which may take seconds. Only a part
    of them waits with a connection, so that there are some left for everybody else.
    """
    async with app[WRITE_SLOTS].of(identity.workspace_id), app[DATABASE].acquire() as conn:
        yield conn


@asynccontextmanager
async def _unique(
    app: web.Application, record: Record, rules: CompiledSchema, claims: Sequence[UniqueKey]
) -> AsyncIterator[None]:
    """Say what was taken, the record's id or which value, when a unique index refuses it."""
    try:
        yield
    except asyncpg.CheckViolationError as error:
        if error.constraint_name != "record_goes_on_counting":
            raise
        raise StaleRecord from error
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name == "records_id_taken":
            raise Conflict.taken("Entity", record.id) from error
        if error.constraint_name != "unique_value_taken":
            raise
        async with app[DATABASE].acquire() as conn:
            claim = await store.taken(conn, record.workspace_id, claims)
        if claim is None:
            raise UniqueKeyReleased from error
        alias = rules.attributes[claim.attribute_id].alias
        value = next(one.value for one in claims if one.key == claim.key)
        raise Conflict(
            f"Value '{truncated(value)}' for attribute '{truncated(alias)}' must be unique"
        ) from error


async def _check_relations(
    app: web.Application,
    workspace_id: str,
    rules: CompiledSchema,
    old: Values,
    new: Values,
    *,
    is_large: bool,
) -> None:
    """Raise `ValidationError` for a named record that does not exist or is of another schema.

    Those of entries that were not sent may be gone: they stay stored, and are no value.
    """
    if not rules.relations:
        return
    offload = app[OFFLOAD]
    sent = await offload.run_if(is_large, workspace_id, _sent_relations, rules, old, new)
    found = await related_of(app, workspace_id, [(sent, rules)], is_large=is_large)
    await offload.run_if(is_large, workspace_id, _check_related, rules, sent, found)


def _sent_relations(rules: CompiledSchema, old: Values, new: Values) -> Values:
    return {
        attribute_id: [entry for entry in new[attribute_id] if id(entry) not in kept]
        for attribute_id in rules.relations.keys() & new.keys()
        for kept in [set(map(id, old.get(attribute_id, ())))]
    }


def _check_related(rules: CompiledSchema, sent: Values, found: Related) -> None:
    ValidationError.check(
        Violation(f"/values/{rules.attributes[attribute_id].alias}", message)
        for attribute_id in rules.relations
        if attribute_id in sent
        for place in rules.relations[attribute_id]
        for record_id in sorted(set(place.named(sent[attribute_id])))
        for message in [_relation_fault(place, record_id, (found.schemas or {}).get(record_id))]
        if message
    )


def _relation_fault(place: Relation, record_id: str, schema_id: str | None) -> str | None:
    if schema_id is None:
        return (
            f"Value for '{truncated(place.name)}' is not an existing record:"
            f" '{truncated(record_id)}' not found"
        )
    if place.target_schema_id not in (None, schema_id):
        return (
            f"Value for '{truncated(place.name)}' must be a record of schema"
            f" '{truncated(place.target_schema_id)}', got '{truncated(record_id)}' of"
            f" '{truncated(schema_id)}'"
        )
    return None


def _claims(rules: CompiledSchema, values: Values) -> list[UniqueKey]:
    """In the order in which they are stored: to sort them again takes no time."""
    claims = [
        claim
        for attribute_id in rules.unique_ids
        for claim in unique_keys_of(rules.attributes[attribute_id], values.get(attribute_id, []))
    ]
    return sorted(claims, key=lambda claim: claim.key)


def _moved_claims(
    rules: CompiledSchema, old: Values, new: Values
) -> tuple[list[UniqueKey], list[UniqueKey]]:
    """The unique keys that are released, and those that are new."""
    before, after = _claims(rules, old), _claims(rules, new)
    held, wanted = {claim.key for claim in before}, {claim.key for claim in after}
    return (
        [claim for claim in before if claim.key not in wanted],
        [claim for claim in after if claim.key not in held],
    )


def _write(
    action: str,
    event_type: str,
    identity: Identity,
    record: Record,
    changes: list[Change],
    at: datetime,
    *,
    from_state_id: str | None = None,
    to_state_id: str | None = None,
    comment: str | None = None,
) -> Write:
    told_changes = orjson.dumps(changes)
    data: dict[str, Any] = {
        "entityId": record.id,
        "schemaId": record.schema_id,
        "version": record.version,
        "lifecycleStateId": record.state_id,
        "userId": identity.id,
        "changes": orjson.Fragment(told_changes),
    }
    if action == "transition":
        data |= {"fromStateId": from_state_id, "toStateId": to_state_id, "comment": comment}
    return Write(
        action=action,
        user_id=identity.id,
        at=at,
        changes=told_changes,
        event=Event(
            type=event_type,
            source=SOURCE,
            workspace_id=record.workspace_id,
            subject=record.id,
            data=data,
            time=at,
        ),
        from_state_id=from_state_id,
        to_state_id=to_state_id,
        comment=comment,
    )


def _check_state(
    caller: Caller, named: str | None, state_id: str | None, state: State | None
) -> None:
    """Raise `ValidationError` if a write names a state other than the record's current one.

    A client that sends the whole record back includes the state that it read, by id or label.
    """
    if named == state_id or (state is not None and named == state.label):
        return
    raise ValidationError.at(
        "/lifecycleStateId",
        "Field 'lifecycleStateId' changes only through a transition:"
        f"{_expected(caller, state_id)} got {shown(named)}",
    )


def _expected(caller: Caller, value: str | None) -> str:
    """What a message says about a stored value: nothing to those who may not read."""
    if not caller.identity.may_read:
        return ""
    return f" expected {shown(value) if value else 'null, because the schema has no workflow'},"


def _now() -> datetime:
    """The clock in milliseconds, which is what the API shows."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)

"""Optimistic locking: a write starts again if the record or the data model changed meanwhile.

Nothing is locked while values are checked. The statement that writes names the versions of the
model and of the record that were read; if either has changed, the command starts again from what is
stored now. So two people who set two locales of one attribute both keep theirs.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import wraps
from typing import Concatenate, Final, ParamSpec, TypeVar

import asyncpg
from aiohttp import web

from records_service.attributes.unique_keys import UniqueKey
from records_service.blueprint.compiled_schema import CompiledSchema
from records_service.context import Context
from records_service.model_objects.store import external_key_taken
from records_service.values.validation import pointer
from records_service.writes import store
from records_service.writes.create_batching import WRITE_SLOTS
from records_service.writes.holders import holder_of
from records_service.writes.model import Record, StaleModel, StaleRecord
from records_service.writes.settling import settle_first
from records_service.writes.state_moves import move_first
from shared.database import Conn, mapping_constraints
from shared.errors import Conflict, ServiceUnavailable, Violation, truncated
from shared.messaging import outbox
from shared.process.waiting import KeyedSemaphore

RECORD_SLOTS: Final = web.AppKey("record_slots", KeyedSemaphore)
"""One change of a record at a time in each process: others would have to start again."""
CHANGE_SLOTS: Final = web.AppKey("change_slots", KeyedSemaphore)
"""How many changes of one workspace are checked at a time, and wait for one of `WRITE_SLOTS`.

Twice as many as those: enough that some write while others read, and so few that what was read is
still current when it is written.
"""
ATTEMPTS_MAX: Final = 100
PAUSE_S: Final = 0.002

P = ParamSpec("P")
T = TypeVar("T")


class _UniqueKeyTaken(Exception):
    """Another record holds a unique key."""


class UniqueKeyReleased(Exception):
    """A unique key was taken and has been released since; try once more."""


def retry_on_stale(
    command: Callable[Concatenate[Context, P], Awaitable[T]],
) -> Callable[Concatenate[Context, P], Awaitable[T]]:
    """Repeat a command until no other write gets in between.

    Each failed attempt means that another writer succeeded, so this ends; the pause, which grows a
    little, keeps many writers of one record from retrying in step. Raises `ServiceUnavailable`
    after `ATTEMPTS_MAX`.
    """

    @wraps(command)
    async def repeated(context: Context, /, *args: P.args, **kwargs: P.kwargs) -> T:
        for number in range(ATTEMPTS_MAX):
            try:
                return await command(context, *args, **kwargs)
            except (StaleModel, StaleRecord, UniqueKeyReleased, asyncpg.DeadlockDetectedError):
                await asyncio.sleep(random.uniform(0, PAUSE_S * min(number, 8)))  # noqa: S311
        raise ServiceUnavailable("The record or the data model is being changed at the moment")

    return repeated


def one_at_a_time(
    kind: str,
) -> Callable[
    [Callable[Concatenate[Context, str, P], Awaitable[T]]],
    Callable[Concatenate[Context, str, P], Awaitable[T]],
]:
    """Let a command wait for its turn before it reads the record, so that what it read is current.

    `kind` is that of `CHANGE_SLOTS`: commands that wait for another service have their own.
    """

    def decorated(
        command: Callable[Concatenate[Context, str, P], Awaitable[T]],
    ) -> Callable[Concatenate[Context, str, P], Awaitable[T]]:
        @wraps(command)
        async def in_turn(
            context: Context, record_id: str, /, *args: P.args, **kwargs: P.kwargs
        ) -> T:
            async with (
                context.app[RECORD_SLOTS].of((context.workspace_id, record_id)),
                context.app[CHANGE_SLOTS].of((context.workspace_id, kind)),
            ):
                return await command(context, record_id, *args, **kwargs)

        return in_turn

    return decorated


@asynccontextmanager
async def writing(
    context: Context,
    record: Record,
    schema: CompiledSchema,
    unique_keys: Sequence[UniqueKey] = (),
    variant_id: str = "",
) -> AsyncIterator[Conn]:
    """A connection for the statement that writes this record or variant; then the relay is woken.

    All writes of a workspace wait while its model is changed, which may take seconds. Only some of
    them wait with a connection, so that the others are left for everybody else. Raises what
    `taken_keys_are_conflicts` raises.
    """
    if schema.state_moves:
        await _move_first(context, record)
    if schema.settles:
        await _settle_first(context, record)
    async with (
        taken_keys_are_conflicts(context, record, schema, unique_keys, variant_id),
        context.app[WRITE_SLOTS].of(context.workspace_id),
        context.database.acquire() as conn,
    ):
        yield conn
    outbox.wake(context.app)


async def _move_first(context: Context, record: Record) -> None:
    """Raise `StaleRecord` if the record was not in the workflow of its schema, and is now."""
    async with (
        context.app[WRITE_SLOTS].of(context.workspace_id),
        context.database.transaction() as conn,
    ):
        moved = await move_first(conn, record.workspace_id, record.schema_id, [record.id])
    if moved:
        raise StaleRecord


async def _settle_first(context: Context, record: Record) -> None:
    """Raise `StaleRecord` if a conversion had not been stored in the record, and is now."""
    async with (
        context.app[WRITE_SLOTS].of(context.workspace_id),
        context.database.transaction() as conn,
    ):
        settled = await settle_first(conn, record.workspace_id, [record.id])
    if settled:
        raise StaleRecord


@asynccontextmanager
async def taken_keys_are_conflicts(
    context: Context,
    record: Record,
    schema: CompiledSchema,
    unique_keys: Sequence[UniqueKey],
    variant_id: str = "",
) -> AsyncIterator[None]:
    """Raise `Conflict` with the id, key or value that is taken, where a unique index refuses it."""
    try:
        with mapping_constraints(
            {
                "record_goes_on_counting": StaleRecord,
                "records_id_taken": lambda: Conflict.taken("Entity", record.id),
                "variants_id_taken": lambda: Conflict.taken("Variant", variant_id),
                "variants_have_a_record": StaleRecord,
                "variants_have_a_parent": StaleRecord,
                "variant_goes_on_counting": StaleRecord,
                "unique_value_taken": _UniqueKeyTaken,
                "records_external_key_taken": lambda: external_key_taken(
                    "Entity", record.external_key or ""
                ),
            }
        ):
            yield
    except _UniqueKeyTaken as error:
        async with context.database.acquire() as conn:
            taken = await store.find_taken(conn, context.workspace_id, unique_keys)
        if taken is None:
            raise UniqueKeyReleased from error
        holder = await holder_of(context, taken)
        alias = schema.attributes[taken.attribute_id].alias
        value = next(each.value for each in unique_keys if each.key == taken.key)
        message = f"Value '{truncated(value)}' for attribute '{truncated(alias)}' must be unique"
        place = pointer(("/values", alias))
        detail = None if holder is None else f"{message}: {holder} has it"
        raise Conflict(message, violations=[Violation(place, message, detail)]) from error

"""Moves a record to another lifecycle state, and lists the states that it can move to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from records_service.blueprint.compiled_schema import Access
from records_service.completeness.scoring import resolution
from records_service.context import Context
from records_service.records.loading import LoadedRecord, load_record
from records_service.transitions import decisions
from records_service.values.completeness import Resolution
from records_service.writes import effects, store
from records_service.writes.attempts import one_at_a_time, retry_on_stale, writing
from shared.errors import TransitionError, ValidationError, truncated
from shared.identity import Identity


@dataclass(frozen=True, slots=True)
class AvailableTransitions:
    """The transitions from the current state of a record, and what the caller sees of it."""

    loaded: LoadedRecord
    access: Access
    resolution: Resolution
    steps: list[dict[str, Any]]


# A kind of its own, because workflow_service is asked meanwhile, which may be slow.
@one_at_a_time("transition")
@retry_on_stale
async def transition(
    context: Context, record_id: str, state_name: str, comment: str | None
) -> LoadedRecord:
    """Move a record to another state, if workflow_service allows it; the record afterwards.

    The decision is about one version of the record, and only that version is moved. Raises
    `NotFound`, `PreconditionFailed`, `ValidationError` where the schema has no workflow, or
    `TransitionError`.
    """
    loaded = await load_record(context, record_id)
    context.check_version("Entity", record_id, loaded.record.version)
    with reasons_for_readers(context.identity, state_name):
        to_state_id = decisions.target(loaded.schema, loaded.record, state_name)
        access = loaded.schema.access(context.role, loaded.record.state_id)
        await decisions.check_transition(context, loaded, to_state_id, access)
    record = replace(
        loaded.record,
        state_id=to_state_id,
        version=loaded.record.version + 1,
        updated_at=effects.now(loaded.record.updated_at),
        updated_by=context.identity.id,
    )
    write = effects.transition_of(context.identity, record, loaded.record.state_id, comment)
    async with writing(context, record, loaded.schema) as conn:
        await store.update(conn, record, [], [], write, model_version=loaded.blueprint.version)
    return replace(loaded, record=record, state=loaded.schema.state_of(to_state_id))


@retry_on_stale
async def available(context: Context, record_id: str) -> AvailableTransitions:
    """Every transition from the current state, with all that blocks it, as the caller sees it."""
    loaded = await load_record(context, record_id)
    access = loaded.schema.access(context.role, loaded.record.state_id)
    found = await resolution(context, loaded)
    steps = await decisions.transitions(context, loaded, found, access)
    return AvailableTransitions(loaded, access, found, steps)


@contextmanager
def reasons_for_readers(identity: Identity, state_name: str) -> Iterator[None]:
    """Say of a refused transition only what was sent, to a caller who may not read.

    The reasons name the current state, the schema, or the score.
    """
    try:
        yield
    except (TransitionError, ValidationError):
        if identity.may_read:
            raise
        raise TransitionError(f"Transition to '{truncated(state_name)}' is not allowed") from None

"""Moves many records to one lifecycle state, by the rules of single transitions.

workflow_service is asked once for each workflow among the records of a wave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from records_service.blueprint.compiled_schema import CompiledSchema
from records_service.bulk.judging import failed, record_of
from records_service.bulk.model import BulkOutcome, Named, Result
from records_service.bulk.store import Stored
from records_service.bulk.work import WAVE_ROWS, Work, attempts
from records_service.completeness.scoring import score
from records_service.context import Context
from records_service.records.store import schema_ids_of
from records_service.transitions import decisions
from records_service.transitions.commands import reasons_for_readers
from records_service.values.completeness import Resolution
from records_service.values.entries import completed
from records_service.values.relations import Related, named
from records_service.workflow_copies.model import WorkflowCopy
from records_service.writes import batches, effects
from records_service.writes.model import PendingUpdate, Record
from shared.database import Conn
from shared.errors import ApiError, NotFound, TransitionError


@dataclass(frozen=True, slots=True)
class Move:
    """Where the records of a call are to go; the state is named by id or alias."""

    state_name: str
    comment: str | None


@dataclass(slots=True)
class _Step:
    """A record that may be moved if workflow_service allows it."""

    index: int
    record: Record
    schema: CompiledSchema
    workflow: WorkflowCopy
    start: str
    to_state_id: str
    score: int = 0
    resolution: Resolution | None = None


@dataclass(slots=True)
class _Wave:
    """Results by position; steps that workflow_service is asked about."""

    results: dict[int, Result] = field(default_factory=dict)
    steps: list[_Step] = field(default_factory=list)


async def move_some(
    context: Context, ids: Sequence[Named], start: int, move: Move, conn: Conn | None = None
) -> list[Result]:
    """Move the records from `start` on that go into one statement; their results.

    Ends before an id that was named already: that record is judged in the state where it is then.
    Raises as `commands.write_rows` does.
    """
    seen: set[str] = set()
    wave: list[Named] = []
    for one in ids[start : start + WAVE_ROWS]:
        if one.id in seen:
            break
        seen.add(one.id)
        wave.append(one)

    async def attempt(work: Work) -> list[Result]:
        blueprint = await work.blueprint()
        stored = await work.records(sorted(seen), blueprint)
        wanted = {one.row["schema_id"] for one in stored.values()}
        schemas = await work.schemas(blueprint, sorted(wanted))
        judged = await work.run(_begun, wave, stored, schemas, move, context)
        await _score(work, judged.steps)
        pending = await _decided(context, judged, move)
        if pending:
            async with work.writing() as writing:
                await batches.update_many(writing, pending, model_version=blueprint.version)
        return [judged.results[one.index] for one in wave]

    return await attempts(context, conn, attempt)


def _begun(
    wave: Sequence[Named],
    stored: Mapping[str, Stored],
    schemas: Mapping[str, CompiledSchema],
    move: Move,
    context: Context,
) -> _Wave:
    judged = _Wave()
    for one in wave:
        try:
            judged.steps.append(_step(one, stored, schemas, move, context))
        except ApiError as error:
            judged.results[one.index] = failed(one.index, error, one.id)
    return judged


def _step(
    one: Named,
    stored: Mapping[str, Stored],
    schemas: Mapping[str, CompiledSchema],
    move: Move,
    context: Context,
) -> _Step:
    found = stored.get(one.id)
    if found is None:
        raise NotFound.of("Entity", one.id)
    record = record_of(found)
    schema = schemas.get(record.schema_id)
    if schema is None:
        raise NotFound.of("Schema", record.schema_id)
    with reasons_for_readers(context.identity, move.state_name):
        to_state_id = decisions.target(schema, record, move.state_name)
    assert schema.workflow is not None
    assert record.state_id is not None
    return _Step(
        index=one.index,
        record=record,
        schema=schema,
        workflow=schema.workflow,
        start=record.state_id,
        to_state_id=to_state_id,
    )


async def _score(work: Work, steps: Sequence[_Step]) -> None:
    """Score each record for its target; a relation to a deleted record is no value."""
    asked = frozenset[str]().union(
        *(named(step.record.values, step.schema.relations) for step in steps)
    )
    related = Related()
    if asked:
        async with work.reading() as conn:
            found = await schema_ids_of(conn, work.context.workspace_id, sorted(asked))
        related = Related(asked, found)
    await work.run(_scored, steps, related)


def _scored(steps: Sequence[_Step], related: Related) -> None:
    for step in steps:
        schema = step.schema
        values = related.living(step.record.values, schema.relations)
        step.resolution = Resolution(schema.attributes, values, completed({}, schema.default_scope))
        step.score = score(schema, step.resolution, step.to_state_id).score


async def _decided(context: Context, judged: _Wave, move: Move) -> list[PendingUpdate]:
    """Ask for decisions, one call for each workflow; what is to be written for what is allowed."""
    groups: dict[tuple[str, str], list[_Step]] = {}
    for step in judged.steps:
        groups.setdefault((step.workflow.workflow_id, step.to_state_id), []).append(step)
    pending: list[PendingUpdate] = []
    for (_, to_state_id), steps in groups.items():
        refusals = await decisions.refusals(
            context, steps[0].workflow, [(step.start, step.score) for step in steps], to_state_id
        )
        for step, refused in zip(steps, refusals, strict=True):
            if refused is None:
                pending.append(_moved(context, step, move, judged))
            else:
                error = _refusal(context, step, refused, move)
                judged.results[step.index] = failed(step.index, error, step.record.id)
    return pending


def _moved(context: Context, step: _Step, move: Move, judged: _Wave) -> PendingUpdate:
    record = replace(
        step.record,
        state_id=step.to_state_id,
        version=step.record.version + 1,
        updated_at=effects.now(step.record.updated_at),
        updated_by=context.identity.id,
    )
    judged.results[step.index] = Result(step.index, BulkOutcome.UPDATED, record.id, record.version)
    write = effects.transition_of(context.identity, record, step.start, move.comment)
    return PendingUpdate(record, b"{}", None, [], [], write)


def _refusal(context: Context, step: _Step, refused: dict[str, Any], move: Move) -> ApiError:
    """The gate judges by all attributes; the refusal tells of those that the caller sees."""
    access = step.schema.access(context.role, step.start)
    found = step.resolution
    assert found is not None
    try:
        with reasons_for_readers(context.identity, move.state_name):
            seen = decisions.visible_reason(refused, step.schema, found, step.to_state_id, access)
            raise TransitionError(seen["message"])
    except ApiError as error:
        return error

"""Transitions of a record: which are possible, and what blocks the others.

This service knows the record and its score; workflow_service knows who may take which step at which
score, and decides. When the two look at different versions of a definition, workflow_service hands
over its own, and the record is judged again by that one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from records_service.blueprint.compiled_schema import Access, CompiledSchema
from records_service.clients import WORKFLOW_SERVICE
from records_service.completeness.scoring import is_much, resolution, score
from records_service.context import Context
from records_service.model_objects.commands import model_change
from records_service.records.loading import LoadedRecord
from records_service.values.completeness import Resolution
from records_service.workflow_copies import store as workflow_copies
from records_service.workflow_copies.model import WorkflowCopy
from records_service.writes.model import Record, StaleModel
from shared.errors import ServiceUnavailable, TransitionError, ValidationError, truncated


def target(schema: CompiledSchema, record: Record, state_name: str) -> str:
    """The id of the state that a request names by id or alias.

    Raises `ValidationError` where the schema has no workflow, `TransitionError` where the record
    has no state yet. A name that no state has is left as it is: workflow_service answers that there
    is no such transition.
    """
    if schema.workflow is None:
        raise ValidationError(
            f"Schema '{truncated(schema.definition.id)}' has no workflow,"
            f" so '{truncated(record.id)}' has no state to change"
        )
    if record.state_id is None:
        raise TransitionError(
            f"Entity '{truncated(record.id)}' has no lifecycle state yet, so no transition starts"
            " there"
        )
    state = schema.workflow.state_named(state_name)
    if state is not None and state.id in schema.workflow.retired:
        current = schema.state_of(record.state_id)
        start = truncated(current.label if current else record.state_id)
        raise TransitionError(
            f"Transition from '{start}' to '{truncated(state.label)}' is not allowed"
        )
    return state.id if state else state_name


async def check_transition(
    context: Context, loaded: LoadedRecord, to_state_id: str, access: Access
) -> None:
    """Raise `TransitionError` as workflow_service words it, unless the step may be taken now.

    The gate judges by all attributes; the refusal tells of those that the caller sees.
    Raises `ServiceUnavailable` when nobody can decide, and `StaleModel` when the definition that
    the score was computed from is not the one in force.
    """
    found = await resolution(context, loaded)
    try:
        answer = await _evaluate(context, loaded, found, [to_state_id], to_state_id)
    except TransitionError:
        whole, part = await context.run(
            is_much(loaded, 1),
            lambda: [score(loaded.schema, found, to_state_id, each) for each in (None, access)],
        )
        if whole == part:
            raise
        for step in await transitions(context, loaded, found, access):
            if step["toStateId"] == to_state_id:
                raise TransitionError(step["reasons"][0]["message"]) from None
        raise
    if answer.get("allowed") is not True:
        raise TransitionError("Transition is not allowed")


async def transitions(
    context: Context,
    loaded: LoadedRecord,
    found: Resolution,
    access: Access,
    role_id: str | None = None,
) -> list[dict[str, Any]]:
    """Every transition from the current state, with all that blocks it, as the caller sees it.

    `role_id` is the role that the gates judge, where it is not the caller's.
    """
    workflow = loaded.schema.workflow
    if workflow is None or loaded.record.state_id is None:
        return []
    targets = workflow.targets.get(loaded.record.state_id, ())
    answer = await _evaluate(context, loaded, found, targets, None, role_id)
    if role_id is not None and answer.get("roleId") != role_id:
        raise ServiceUnavailable("The gates of another role cannot be judged during an upgrade")
    steps: list[dict[str, Any]] = answer["transitions"]

    def visible_steps() -> list[dict[str, Any]]:
        return [
            {
                **step,
                "reasons": [
                    visible_reason(reason, loaded.schema, found, step["toStateId"], access)
                    for reason in step["reasons"]
                ],
            }
            for step in steps
        ]

    return await context.run(is_much(loaded, len(steps)), visible_steps)


def visible_reason(
    reason: dict[str, Any],
    schema: CompiledSchema,
    found: Resolution,
    state_id: str,
    access: Access,
) -> dict[str, Any]:
    """A closed gate with the ids of what is missing, and nothing that tells of hidden attributes.

    Where the caller's own score suffices, the text says that hidden ones count too: that much the
    closed gate tells anyway.
    """
    if reason["code"] != "COMPLETENESS":
        return reason
    visible = score(schema, found, state_id, access)
    if visible == score(schema, found, state_id):
        return {**reason, "missing": visible.missing}
    state, minimum = schema.state_of(state_id), reason["minimum"]
    gate = f"minimum {minimum}% for transition to '{truncated(state.label if state else state_id)}'"
    return {
        **reason,
        "score": visible.score,
        "missing": visible.missing,
        "message": f"Completeness score {visible.score}% does not meet {gate}"
        if visible.score < minimum
        else f"Completeness does not meet {gate}: attributes hidden from the caller count too",
    }


async def _evaluate(
    context: Context,
    loaded: LoadedRecord,
    found: Resolution,
    targets: list[str] | tuple[str, ...],
    to_state_id: str | None,
    role_id: str | None = None,
) -> Mapping[str, Any]:
    schema, record = loaded.schema, loaded.record
    workflow = schema.workflow
    assert workflow is not None
    scores = await context.run(
        is_much(loaded, len(targets)),
        lambda: {state_id: score(schema, found, state_id).score for state_id in targets},
    )
    answer: dict[str, Any] = await context.app[WORKFLOW_SERVICE].request(
        "POST",
        f"/internal/workflows/{workflow.workflow_id}/evaluate",
        json={
            "definitionVersion": workflow.version,
            "fromStateId": record.state_id,
            **({} if to_state_id is None else {"toStateId": to_state_id}),
            **({} if role_id is None else {"roleId": role_id}),
            "scores": scores,
        },
        call=context.call,
        reads=True,
    )
    if answer.get("stale"):
        await adopt(context, answer["definition"])
        raise StaleModel
    return answer


async def refusals(
    context: Context, workflow: WorkflowCopy, steps: Sequence[tuple[str, int]], to_state_id: str
) -> list[dict[str, Any] | None]:
    """Why each of these steps to one state may not be taken, None where it may; in one call.

    A step is the state where it starts, and the record's score for the target state. Raises
    `StaleDefinition` when the definition that the scores were computed from is not the one in
    force: the caller lets go of what it has locked, and adopts that one.
    """
    answer: dict[str, Any] = await context.app[WORKFLOW_SERVICE].request(
        "POST",
        f"/internal/workflows/{workflow.workflow_id}/evaluate-many",
        json={
            "definitionVersion": workflow.version,
            "toStateId": to_state_id,
            "steps": [{"fromStateId": start, "score": score} for start, score in steps],
        },
        call=context.call,
        reads=True,
    )
    if answer.get("stale"):
        raise StaleDefinition(answer["definition"])
    found: list[dict[str, Any] | None] = answer["refusals"]
    return found


class StaleDefinition(StaleModel):
    """The copy of a workflow is older than the definition in force, which has not come yet."""

    def __init__(self, definition: dict[str, Any]) -> None:
        super().__init__()
        self.definition = definition


async def adopt(context: Context, definition: dict[str, Any]) -> None:
    """Take over a definition that has not come by event yet."""
    async with model_change(context.app, context.workspace_id) as conn:
        await workflow_copies.upsert(conn, context.workspace_id, definition)

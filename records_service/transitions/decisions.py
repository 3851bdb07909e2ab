"""Transitions of a record: which are possible, and what blocks the others.

This service knows the record and its score; workflow_service knows who may take which step at which
score, and decides. When the two look at different versions of a definition, workflow_service hands
over its own, and the record is judged again by that one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from records_service.blueprint.compiled_schema import Access, CompiledSchema
from records_service.model_objects.commands import model_change
from records_service.records.loading import LoadedRecord, related_of
from records_service.records.model import Record
from records_service.records.store import StaleModel
from records_service.schemas.commands import WORKFLOW_SERVICE
from records_service.values.completeness import Completeness, Resolution, completeness
from records_service.values.scopes import Scope, completed
from records_service.workflow_copies import store as lifecycles
from shared.errors import TransitionError, ValidationError, truncated
from shared.process.offload import OFFLOAD, Large

LOOKED_AT_MAX = 2_000
"""How many attributes of states are scored at once on the event loop: a few milliseconds."""


def target(rules: CompiledSchema, record: Record, state_name: str) -> str:
    """The id of the state that a request names by id or alias.

    Raises `ValidationError` where the schema has no workflow, `TransitionError` where the record
    has no state yet. A name that no state has is left as it is: workflow_service answers that there
    is no such transition.
    """
    if rules.lifecycle is None:
        raise ValidationError(
            f"Schema '{truncated(rules.schema.id)}' has no workflow,"
            f" so '{truncated(record.id)}' has no state to change"
        )
    if record.state_id is None:
        raise TransitionError(
            f"Entity '{truncated(record.id)}' has no lifecycle state yet, so no transition starts"
            " there"
        )
    state = rules.lifecycle.state_named(state_name)
    if state is not None and state.id in rules.lifecycle.retired:
        current = rules.state_of(record.state_id)
        start = truncated(current.label if current else record.state_id)
        raise TransitionError(
            f"Transition from '{start}' to '{truncated(state.label)}' is not allowed"
        )
    return state.id if state else state_name


async def resolution(
    app: web.Application, seen: LoadedRecord, scope: Scope | None = None
) -> Resolution:
    """The record's values in a scope, or in the default one, to be scored for any state.

    What names a record that is gone is no value.
    """
    rules, record = seen.rules, seen.record
    is_large = isinstance(record.values, Large)
    related = await related_of(
        app, record.workspace_id, [(record.values, rules)], is_large=is_large
    )
    values = await app[OFFLOAD].run_if(
        is_large, record.workspace_id, related.living, record.values, rules.relations
    )
    return Resolution(rules.attributes, values, completed(scope or {}, rules.default_scope))


def is_much(seen: LoadedRecord, states: int) -> bool:
    """Whether so much has to be looked at for these many states that a thread does it."""
    return (
        isinstance(seen.record.values, Large) or states * len(seen.rules.attributes) > LOOKED_AT_MAX
    )


def score(
    rules: CompiledSchema, found: Resolution, state_id: str | None, access: Access | None = None
) -> Completeness:
    """The record's completeness for a state; with `access`, as far as it may be told."""
    required = rules.required_in(rules.state_of(state_id))
    if access is not None:
        required = [each for each in required if each.id in access.judged]
    return completeness(required, found)


async def check_transition(
    request: web.Request, seen: LoadedRecord, to_state_id: str, access: Access
) -> None:
    """Raise `TransitionError` as workflow_service words it, unless the step may be taken now.

    The gate judges by all attributes; the refusal tells of those that the caller sees.
    Raises `ServiceUnavailable` when nobody can decide, and `StaleModel` when the definition that
    the score was computed from is not the one in force.
    """
    found = await resolution(request.app, seen)
    try:
        told = await _evaluate(request, seen, found, [to_state_id], to_state_id)
    except TransitionError:
        whole, part = await request.app[OFFLOAD].run_if(
            is_much(seen, 1),
            seen.record.workspace_id,
            lambda: [score(seen.rules, found, to_state_id, each) for each in (None, access)],
        )
        if whole == part:
            raise
        for step in await transitions(request, seen, found, access):
            if step["toStateId"] == to_state_id:
                raise TransitionError(step["reasons"][0]["message"]) from None
        raise
    if told.get("allowed") is not True:
        raise TransitionError("Transition is not allowed")


async def transitions(
    request: web.Request, seen: LoadedRecord, found: Resolution, access: Access
) -> list[dict[str, Any]]:
    """Every transition from the current state, with all that blocks it, as the caller sees it."""
    lifecycle = seen.rules.lifecycle
    if lifecycle is None or seen.record.state_id is None:
        return []
    targets = lifecycle.targets.get(seen.record.state_id, ())
    told = await _evaluate(request, seen, found, targets, None)
    steps: list[dict[str, Any]] = told["transitions"]

    def as_seen() -> list[dict[str, Any]]:
        return [
            {
                **step,
                "reasons": [
                    _as_seen(reason, seen.rules, found, step["toStateId"], access)
                    for reason in step["reasons"]
                ],
            }
            for step in steps
        ]

    return await request.app[OFFLOAD].run_if(
        is_much(seen, len(steps)), seen.record.workspace_id, as_seen
    )


def _as_seen(
    reason: dict[str, Any],
    rules: CompiledSchema,
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
    seen = score(rules, found, state_id, access)
    if seen == score(rules, found, state_id):
        return {**reason, "missing": seen.missing}
    state, minimum = rules.state_of(state_id), reason["minimum"]
    gate = f"minimum {minimum}% for transition to '{truncated(state.label if state else state_id)}'"
    return {
        **reason,
        "score": seen.score,
        "missing": seen.missing,
        "message": f"Completeness score {seen.score}% does not meet {gate}"
        if seen.score < minimum
        else f"Completeness does not meet {gate}: attributes hidden from the caller count too",
    }


async def _evaluate(
    request: web.Request,
    seen: LoadedRecord,
    found: Resolution,
    targets: list[str] | tuple[str, ...],
    to_state_id: str | None,
) -> Mapping[str, Any]:
    rules, record = seen.rules, seen.record
    lifecycle = rules.lifecycle
    assert lifecycle is not None
    scores = await request.app[OFFLOAD].run_if(
        is_much(seen, len(targets)),
        record.workspace_id,
        lambda: {state_id: score(rules, found, state_id).score for state_id in targets},
    )
    told: dict[str, Any] = await request.app[WORKFLOW_SERVICE].request(
        "POST",
        f"/internal/workflows/{lifecycle.workflow_id}/evaluate",
        json={
            "definitionVersion": lifecycle.version,
            "fromStateId": record.state_id,
            **({} if to_state_id is None else {"toStateId": to_state_id}),
            "scores": scores,
        },
        request=request,
        reads=True,
    )
    if told.get("stale"):
        await _adopt(request.app, record.workspace_id, told["definition"])
        raise StaleModel
    return told


async def _adopt(app: web.Application, workspace_id: str, definition: dict[str, Any]) -> None:
    """Take over a definition that has not come by event yet."""
    async with model_change(app, workspace_id) as conn:
        await lifecycles.keep(conn, workspace_id, definition)

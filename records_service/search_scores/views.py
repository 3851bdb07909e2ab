"""Which scores are stored of each record, and by which rules.

A view is a state and a scope: the record's own state with the default segments, with each other
segment of one dimension, and each state of the workflow with the default segments. Other scores are
worked out when they are asked for, and so are those of schemas in which a relation counts, because
the deletion of another record may change them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import orjson

from records_service.blueprint.blueprint import Blueprint
from records_service.blueprint.compiled_schema import outline
from records_service.search_scores.rules import Rules, TooManyRules, rules_of

SEGMENTS_MAX: Final = 8
STATES_MAX: Final = 8
"""Of a workflow."""
_STORED: Final = "stored_scores"


@dataclass(frozen=True, slots=True)
class View:
    """One stored score of each record of a schema."""

    key: int
    rules: Rules
    scope: str
    """Completed, as JSON."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What is stored of the records of a schema, with a digest of all that it depends on."""

    views: tuple[View, ...]
    digest: str


def defaults_of(blueprint: Blueprint) -> dict[str, str]:
    """The default segment of each dimension."""
    return {each.id: each.default_segment_id for each in blueprint.dimensions.values()}


def view_key(blueprint: Blueprint, state_id: str | None, scope: Mapping[str, str]) -> int | None:
    """The key of the scores for a state in a completed scope, if they are stored.

    None stands for the state of each record.
    """
    defaults = defaults_of(blueprint)
    other = {name: scope[name] for name in scope if defaults.get(name) != scope[name]}
    if other and (state_id is not None or other not in _scopes(blueprint)):
        return None
    if state_id is not None and not any(
        state_id in list(each.states)[:STATES_MAX] for each in blueprint.workflows.values()
    ):
        return None
    named = orjson.dumps([state_id, sorted(other.items())])
    return int.from_bytes(blake2b(named, digest_size=8).digest(), signed=True)


def stored_of(blueprint: Blueprint, schema_id: str) -> Stored | None:
    """What is stored of the records of a schema; None where a relation counts, or too much."""
    if blueprint.settling:
        # Values are being converted: what is stored is not what readers are shown yet.
        return None
    known: dict[str, Stored | None] = blueprint.derived.setdefault(_STORED, {})
    if schema_id not in known:
        known[schema_id] = _stored_of(blueprint, schema_id)
    return known[schema_id]


def _stored_of(blueprint: Blueprint, schema_id: str) -> Stored | None:
    schema = outline(blueprint, schema_id)
    defaults = defaults_of(blueprint)
    states = list(schema.workflow.states)[:STATES_MAX] if schema.workflow else []
    asked = [(None, {}), *((None, each) for each in _scopes(blueprint))]
    views = []
    for state_id, other in [*asked, *((each, {}) for each in states)]:
        try:
            rules = rules_of(blueprint, None, [schema_id], state_id)
        except TooManyRules:
            return None
        scope = {**defaults, **other}
        key = view_key(blueprint, state_id, scope)
        if rules.looks_at_relations or key is None:
            return None
        views.append(View(key, rules, orjson.dumps(scope, option=orjson.OPT_SORT_KEYS).decode()))
    told = [[each.key, each.rules.counted, each.rules.forms, each.scope] for each in views]
    return Stored(tuple(views), blake2b(orjson.dumps(told), digest_size=16).hexdigest())


def _scopes(blueprint: Blueprint) -> list[dict[str, str]]:
    """The scopes of one segment that is not the default, as far as they are stored."""
    used = {name for each in blueprint.attributes.values() for name in each.dimension_ids}
    found = [
        {dimension.id: segment.id}
        for dimension in sorted(blueprint.dimensions.values(), key=lambda each: each.id)
        if dimension.id in used
        for segment in dimension.segments
        if segment.id != dimension.default_segment_id
    ]
    return found[:SEGMENTS_MAX]

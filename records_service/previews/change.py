"""A change of the data model that is asked about: the model before and after it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from records_service.attributes.definition import changes_of_form
from records_service.attributes.model import ATTRIBUTE, Attribute, SubAttribute
from records_service.blueprint.blueprint import Blueprint
from records_service.model_objects.model import ModelObject
from records_service.schemas.model import Schema
from records_service.values.relations import Relation
from records_service.workflow_copies.model import WorkflowCopy
from shared.errors import truncated

NOTHING: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class States:
    """The states that records may be in afterwards; those in others go to the default one."""

    known: frozenset[str]
    default: str | None

    def of(self, state_id: str | None) -> str | None:
        """The state of a record that is in this one now."""
        return state_id if state_id in self.known else self.default

    @classmethod
    def of_workflow(cls, workflow: WorkflowCopy | None) -> States:
        """Those of a workflow that no record is kept from entering."""
        if workflow is None:
            return cls(frozenset(), None)
        return cls(frozenset(workflow.states.keys() - workflow.retired), workflow.default_state_id)


@dataclass(frozen=True, slots=True)
class Change:
    """What differs, as far as records are concerned."""

    before: Blueprint
    after: Blueprint
    schema_ids: Sequence[str]
    """The schemas whose records are looked at."""
    checked: frozenset[str] = frozenset()
    """The attributes whose stored values have to meet other rules."""
    unkept: Mapping[str, str] = field(default_factory=dict)
    """Attribute -> why none of its values can be kept."""
    gone: frozenset[str] = frozenset()
    """The options that there would not be any more."""
    choosing: Mapping[str, tuple[Relation, ...]] = field(default_factory=dict)
    """Attribute -> where its values name options of that list."""
    unique: Attribute | None = None
    """The attribute that would become unique."""
    states: States | None = None
    """The states that there would be, where that changes."""
    without_variants: bool = False
    """Whether variants would not be possible any more."""


def of_schema(
    before: Blueprint, old: ModelObject, new: ModelObject, definition: Mapping[str, Any] | None
) -> Change:
    """Another form of a schema; `definition` is that of its workflow, None without one."""
    schema, former = Schema.parse(new), Schema.parse(old)
    workflows = dict(before.workflows)
    if definition is not None:
        known = before.workflows.get(definition["id"])
        retired = known.retired if known else ()
        workflows[definition["id"]] = WorkflowCopy.parse(definition, retired)
    moves = former.workflow_id != schema.workflow_id
    state_moves = {
        schema_id: each
        for schema_id, each in before.state_moves.items()
        if not (moves and schema_id == schema.id)
    }
    after = _changed(
        before,
        schemas={**before.schemas, schema.id: schema},
        workflows=workflows,
        state_moves=state_moves,
    )
    return Change(
        before,
        after,
        [schema.id],
        checked=frozenset(schema.attribute_ids) - frozenset(former.attribute_ids),
        states=States.of_workflow(workflows.get(schema.workflow_id or "")) if moves else None,
        without_variants=former.variant_enabled and not schema.variant_enabled,
    )


def of_attribute(
    before: Blueprint, old: ModelObject, new: ModelObject, schema_ids: Sequence[str]
) -> Change:
    """Another form of an attribute; `schema_ids` are those whose records may hold values of it."""
    attribute = Attribute.parse(new)
    fixed = changes_of_form(old.body, new.body)
    key = ATTRIBUTE.table, new.id
    former = before.former_aliases.get(key, ())
    after = _changed(
        before,
        attributes={**before.attributes, new.id: attribute},
        former_aliases={
            **before.former_aliases,
            key: former if new.alias == old.alias else (*former, old.alias),
        },
        checks={one: check for one, check in before.checks.items() if one != new.id},
    )
    differs = any(old.body.get(name) != new.body.get(name) for name in ("validation", "attributes"))
    becomes_unique = attribute.validation.unique and not old.body["validation"].get("unique")
    return Change(
        before,
        after,
        schema_ids,
        checked=frozenset([new.id] if fixed or differs else ()),
        unkept={
            new.id: f"Has a value of attribute '{truncated(old.alias)}', whose field"
            f" '{truncated(fixed[0])}' cannot change while values exist"
        }
        if fixed
        else {},
        unique=attribute if becomes_unique else None,
    )


def of_option_list(
    before: Blueprint, list_id: str, gone: Collection[str], schema_ids: Sequence[str]
) -> Change:
    """An option list without some of its options."""
    choosing = {
        each.id: places
        for each in before.attributes.values()
        if (places := tuple(_choosing(each, list_id, (), each.alias)))
    }
    return Change(
        before,
        before,
        schema_ids,
        gone=frozenset(gone),
        choosing=choosing if gone else {},
    )


def of_workflow(before: Blueprint, definition: Mapping[str, Any]) -> Change:
    """Another version of a workflow. Records in a state that it lacks would have to leave it."""
    workflow = WorkflowCopy.parse(definition)
    return Change(
        before,
        _changed(before, workflows={**before.workflows, workflow.workflow_id: workflow}),
        sorted(
            schema.id
            for schema in before.schemas.values()
            if schema.workflow_id == workflow.workflow_id
        ),
        states=States.of_workflow(workflow),
    )


def _changed(before: Blueprint, **parts: Any) -> Blueprint:
    """Another blueprint, that shares nothing of what is derived of this one but what is given."""
    made = {"checks": dict(before.checks), "compiled": {}, "compiling": {}, "derived": {}}
    return replace(before, **{**made, **parts})


def _choosing(
    form: Attribute | SubAttribute, list_id: str, fields: tuple[str, ...], name: str
) -> Iterator[Relation]:
    """Where values name options of this list: what leads there is as for relations."""
    if form.option_list_id == list_id:
        yield Relation(fields, name)
    for inner in form.attributes:
        yield from _choosing(inner, list_id, (*fields, inner.alias), f"{name}.{inner.alias}")

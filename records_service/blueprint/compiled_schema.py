"""The compiled rules of a schema for its records, built once per model version.

A request may name an attribute by alias or id. Inside this service an attribute is always known by
its id, so that renaming it costs nothing; only answers and events contain aliases.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from records_service.attributes.model import ATTRIBUTE, Attribute
from records_service.blueprint.blueprint import Blueprint
from records_service.model_objects.model import Kind
from records_service.permissions.rules import AttributePermission, Names, Role, permission
from records_service.schemas.model import SCHEMA, Schema
from records_service.values.relations import Relations, relations_of
from records_service.values.types import compile_check
from records_service.values.validation import EntriesCheck
from records_service.workflow_copies.model import State, WorkflowCopy
from records_service.workflow_copies.moves import NO_MOVES, StateMoves, moved_to
from shared.errors import NotFound
from shared.process.offload import in_thread

VIEWS_PER_SCHEMA_MAX = 512
SCHEMAS_COMPILED_MAX = 1_000
"""Of one workspace; those that were made ready first go first."""


@dataclass(frozen=True, slots=True, eq=False)
class Access:
    """What one role sees and may change in one state of one schema's records.

    There is one object per schema version, role version and state, compared by identity.
    """

    visible: Mapping[str, str]
    """Attribute id -> alias, in the schema's order."""
    writable: frozenset[str]
    judged: frozenset[str]
    """The visible attributes about which completeness tells nothing hidden."""
    sees_all: bool


@dataclass(slots=True)
class CompiledSchema:
    """One schema at one version of the model; `derived` is what its users derive of it."""

    workspace_id: str
    definition: Schema
    attributes: Mapping[str, Attribute]
    ids_by_name: Mapping[str, str]
    names: Names
    """What the schema may be called in a role."""
    names_of: Mapping[str, Names]
    """Attribute id -> what it may be called in a role or a state's list."""
    checks: Mapping[str, EntriesCheck]
    relations: Relations
    required_relations: tuple[str, ...]
    """Those attributes among `relations` that a write cannot empty."""
    unique_ids: frozenset[str]
    chooses_from_large: frozenset[str]
    """The attributes whose options are looked up: they, or fields of them, have large lists."""
    workflow: WorkflowCopy | None
    default_scope: Mapping[str, str]
    state_moves: StateMoves = field(default_factory=dict)
    """Stored state -> state, of records that are not in the workflow yet."""
    settles: bool = False
    """Whether records may have values of which a conversion is not stored in them yet."""
    is_indexed: bool = False
    """Whether writes of records write the search index."""
    derived: dict[str, Any] = field(default_factory=dict)
    _access: dict[tuple[str | None, int, str | None], Access] = field(default_factory=dict)

    @property
    def names_in_variants(self) -> list[tuple[str, str]]:
        """Id and alias of each attribute, in the schema's order; none if it has no variants."""
        if not self.definition.variant_enabled:
            return []
        return [(each.id, each.alias) for each in self.attributes.values()]

    def required_in(self, state: State | None) -> list[Attribute]:
        """The attributes that count for completeness in a state, in the schema's order.

        Those that the state hides do not count. Only an id takes one out: an alias, which may pass
        to another attribute, opens no gate.
        """
        if state is None:
            return [each for each in self.attributes.values() if each.validation.required]
        listed = self._named(state.required)
        return [
            attribute
            for attribute in self.attributes.values()
            if (attribute.validation.required or attribute.id in listed)
            and attribute.id not in state.hidden
        ]

    def read_only_in(self, state: State | None) -> frozenset[str]:
        """The attributes that nobody may write while a record is in this state."""
        return frozenset() if state is None else self._named(state.read_only)

    def hidden_in(self, state: State | None, role: Role | None) -> frozenset[str]:
        """The attributes that a state hides from this role; from an unrestricted caller none."""
        return frozenset() if state is None or role is None else self._named(state.hidden)

    def state_id_of(self, stored: str | None) -> str | None:
        """The state of a record with this stored state: another one until the record is moved."""
        return moved_to(self.state_moves, stored) if self.state_moves else stored

    def state_of(self, state_id: str | None) -> State | None:
        """The state, or None where the schema has no workflow or it does not know the state."""
        state_id = self.state_id_of(state_id)
        if self.workflow is None or state_id is None:
            return None
        return self.workflow.states.get(state_id)

    def access(self, role: Role | None, state_id: str | None) -> Access:
        """What a role may do here; `role` None stands for an unrestricted caller.

        A state's `hidden` list applies to everyone except unrestricted callers.
        """
        key = (None, 0, None) if role is None else (role.id, role.version, state_id)
        known = self._access.get(key)
        if known is None:
            if len(self._access) >= VIEWS_PER_SCHEMA_MAX:
                self._access.clear()
            known = self._access[key] = self._work_out_access(role, state_id)
        return known

    def _work_out_access(self, role: Role | None, state_id: str | None) -> Access:
        hidden = self.hidden_in(self.state_of(state_id), role)
        words = {
            attribute_id: AttributePermission.HIDDEN
            if attribute_id in hidden
            else permission(role, self.names, self.names_of[attribute_id])
            for attribute_id in self.attributes
        }
        visible = {
            attribute_id: self.attributes[attribute_id].alias
            for attribute_id, word in words.items()
            if word is not AttributePermission.HIDDEN
        }
        return Access(
            visible=visible,
            writable=frozenset(
                name for name, word in words.items() if word is AttributePermission.WRITE
            ),
            # Whether a guarded attribute counts tells of the value that its guard looks at, unless
            # the schema does not have that one: then no guard sees a value of it.
            judged=frozenset(
                attribute_id
                for attribute_id in visible
                if all(
                    guard.attribute_id in visible or guard.attribute_id not in self.attributes
                    for guard in self.attributes[attribute_id].guards
                )
            ),
            sees_all=len(visible) == len(words),
        )

    def writable_in(
        self, role: Role | None, state: State | None, *, is_new: bool = False
    ) -> frozenset[str]:
        """The attributes that a caller may write in a record of this state.

        What a state makes read-only does not bind a record that is only now being created.
        """
        writable = self.access(role, None if state is None else state.id).writable
        return writable if is_new else writable - self.read_only_in(state)

    def _named(self, listed: frozenset[str]) -> frozenset[str]:
        """The ids of all attributes that a state's list names by id, alias or former alias."""
        if not listed:
            return frozenset()
        return frozenset(
            attribute_id
            for attribute_id, names in self.names_of.items()
            if attribute_id in listed or not listed.isdisjoint(names.aliases)
        )


async def compiled_schema(blueprint: Blueprint, schema_id: str) -> CompiledSchema:
    """The rules of a schema, or `NotFound`; made once per blueprint, beside the event loop.

    A thousand attributes of two hundred fields each take two seconds, plain ones 20 ms.
    """
    known: CompiledSchema | None = blueprint.compiled.get(schema_id)
    if known is not None:
        return known
    making = blueprint.compiling.get(schema_id)
    if making is None:
        making = asyncio.ensure_future(in_thread(compile_schema, blueprint, schema_id))
        blueprint.compiling[schema_id] = making

        def made(_: asyncio.Future[CompiledSchema]) -> None:
            del blueprint.compiling[schema_id]

        making.add_done_callback(made)
    # Made once, however many ask; who goes away does not stop it for the others.
    compiled: CompiledSchema = await asyncio.shield(making)
    return compiled


def compile_schema(blueprint: Blueprint, schema_id: str) -> CompiledSchema:
    """Make the rules of a schema ready, and keep them in the blueprint, or `NotFound`."""
    schema = blueprint.schemas.get(schema_id)
    if schema is None:
        raise NotFound.of("Schema", schema_id)
    compiled = _compile(blueprint, schema)
    while len(blueprint.compiled) >= SCHEMAS_COMPILED_MAX:
        blueprint.compiled.pop(next(iter(blueprint.compiled)), None)
    blueprint.compiled[schema_id] = compiled
    return compiled


def outline(blueprint: Blueprint, schema_id: str) -> CompiledSchema:
    """A schema for whoever asks what is required and seen, perhaps without the checks of values.

    Checks are what takes long to make: without them a thousand schemas take no second.
    """
    known: CompiledSchema | None = blueprint.compiled.get(schema_id)
    return known or _compile(blueprint, blueprint.schemas[schema_id], checks=False)


def _compile(blueprint: Blueprint, schema: Schema, *, checks: bool = True) -> CompiledSchema:
    attributes = {
        attribute_id: blueprint.attributes[attribute_id]
        for attribute_id in schema.attribute_ids
        if attribute_id in blueprint.attributes
    }
    return CompiledSchema(
        workspace_id=blueprint.workspace_id,
        definition=schema,
        attributes=attributes,
        ids_by_name={
            # An alias that is also another attribute's id means the alias: data speak aliases.
            **{attribute_id: attribute_id for attribute_id in attributes},
            **{attribute.alias: attribute.id for attribute in attributes.values()},
        },
        names=names_in(blueprint, SCHEMA, schema),
        names_of={i: names_in(blueprint, ATTRIBUTE, each) for i, each in attributes.items()},
        checks={each.id: check_of(blueprint, each) for each in attributes.values() if checks},
        relations={i: found for i, each in attributes.items() if (found := relations_of(each))},
        required_relations=tuple(
            i for i, each in attributes.items() if each.validation.required and relations_of(each)
        ),
        unique_ids=frozenset(a.id for a in attributes.values() if a.validation.unique),
        chooses_from_large=frozenset(
            a.id for a in attributes.values() if blueprint.chooses_from_large(a)
        ),
        workflow=_workflow(blueprint, schema),
        default_scope={d.id: d.default_segment_id for d in blueprint.dimensions.values()},
        state_moves=blueprint.state_moves.get(schema.id, NO_MOVES),
        settles=bool(blueprint.settling),
        is_indexed=blueprint.is_indexed,
    )


def _workflow(blueprint: Blueprint, schema: Schema) -> WorkflowCopy | None:
    """The workflow of a schema; no record enters a state that is stored for another one."""
    workflow = blueprint.workflows.get(schema.workflow_id or "")
    moves = blueprint.state_moves.get(schema.id)
    if workflow is None or not moves:
        return workflow
    return replace(workflow, retired=workflow.retired | moves.keys())


def names_in(blueprint: Blueprint, kind: Kind, definition: Attribute | Schema) -> Names:
    """What an attribute or a schema may be called in a role."""
    return Names(
        definition.id,
        (definition.alias, *blueprint.former_aliases.get((kind.table, definition.id), ())),
    )


def check_of(blueprint: Blueprint, attribute: Attribute) -> EntriesCheck:
    """The check of an attribute, shared by all schemas that contain it."""
    known = blueprint.checks.get(attribute.id)
    if known is None:
        known = compile_check(attribute, blueprint.dimensions, blueprint.option_lists)
        blueprint.checks[attribute.id] = known
    check: EntriesCheck = known
    return check

"""What a schema asks of its records, made ready once per version of the model.

Names may be sent as alias or id (C12); inside this service an attribute is its id, so that renaming
one costs nothing, and only what goes out speaks aliases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from records_service.attributes.model import Attribute, AttributeType
from records_service.lifecycles.model import Lifecycle, State
from records_service.permissions.rules import AttributePermission, Role, permission
from records_service.records.validation import EntriesCheck, compile_check
from records_service.schemas.blueprint import Blueprint
from records_service.schemas.model import Schema
from shared.errors import NotFound

VIEWS_PER_SCHEMA_MAX = 512


@dataclass(frozen=True, slots=True, eq=False)
class Access:
    """What one role sees and may change in one state of one schema's records.

    There is one object per schema version, role version and state, compared by identity.
    """

    visible: Mapping[str, str]
    """Attribute id -> alias, in the schema's order."""
    writable: frozenset[str]
    sees_all: bool


@dataclass(slots=True)
class RecordRules:
    """One schema at one version of the model."""

    schema: Schema
    attributes: Mapping[str, Attribute]
    ids_by_name: Mapping[str, str]
    checks: Mapping[str, EntriesCheck]
    relation_ids: tuple[str, ...]
    unique_ids: frozenset[str]
    lifecycle: Lifecycle | None
    default_scope: Mapping[str, str]
    _access: dict[tuple[str | None, int, str | None], Access] = field(default_factory=dict)

    def required_in(self, state: State | None) -> list[Attribute]:
        """The attributes that count for completeness in a state (Q16), in the schema's order."""
        listed = self._named(state, lambda s: s.required)
        hidden = self._named(state, lambda s: s.hidden)
        return [
            attribute
            for attribute in self.attributes.values()
            if (attribute.validation.required or attribute.id in listed)
            and attribute.id not in hidden
        ]

    def read_only_in(self, state: State | None) -> frozenset[str]:
        """The attributes that nobody may write while a record is in this state (Q18)."""
        return self._named(state, lambda s: s.read_only)

    def state_of(self, state_id: str | None) -> State | None:
        """The state, or None where the schema has no workflow or it does not know the state."""
        if self.lifecycle is None or state_id is None:
            return None
        return self.lifecycle.states.get(state_id)

    def access(self, role: Role | None, state_id: str | None) -> Access:
        """What a role may do here; `role` None stands for an unrestricted caller.

        A state's `hidden` list binds everyone but unrestricted callers (Q18).
        """
        key = (None, 0, None) if role is None else (role.id, role.version, state_id)
        known = self._access.get(key)
        if known is None:
            if len(self._access) >= VIEWS_PER_SCHEMA_MAX:
                self._access.clear()
            known = self._access[key] = self._work_out_access(role, state_id)
        return known

    def _work_out_access(self, role: Role | None, state_id: str | None) -> Access:
        state = None if role is None else self.state_of(state_id)
        hidden = self._named(state, lambda s: s.hidden)
        words = {
            attribute_id: AttributePermission.HIDDEN
            if attribute_id in hidden
            else permission(
                role,
                self.schema.id,
                attribute_id,
                # A name that is another attribute's id means that one.
                attribute_id if attribute.alias in self.attributes else attribute.alias,
            )
            for attribute_id, attribute in self.attributes.items()
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
            sees_all=len(visible) == len(words),
        )

    def _named(
        self, state: State | None, names: Callable[[State], frozenset[str]]
    ) -> frozenset[str]:
        """Attribute ids of a state's list, which names them by id or, failing that, by alias."""
        if state is None:
            return frozenset()
        return frozenset(
            name if name in self.attributes else self.ids_by_name[name]
            for name in names(state)
            if name in self.ids_by_name
        )


def rules_of(blueprint: Blueprint, schema_id: str) -> RecordRules:
    """The rules of a schema, or `NotFound`; made once per blueprint."""
    known = blueprint.compiled.get(schema_id)
    if known is None:
        schema = blueprint.schemas.get(schema_id)
        if schema is None:
            raise NotFound.of("Schema", schema_id)
        known = blueprint.compiled[schema_id] = _compile(blueprint, schema)
    rules: RecordRules = known
    return rules


def _compile(blueprint: Blueprint, schema: Schema) -> RecordRules:
    attributes = {
        attribute_id: blueprint.attributes[attribute_id]
        for attribute_id in schema.attribute_ids
        if attribute_id in blueprint.attributes
    }
    return RecordRules(
        schema=schema,
        attributes=attributes,
        ids_by_name={
            # An alias that is also another attribute's id means the alias: data speak aliases.
            **{attribute_id: attribute_id for attribute_id in attributes},
            **{attribute.alias: attribute.id for attribute in attributes.values()},
        },
        checks={
            attribute.id: compile_check(attribute, blueprint.dimensions, blueprint.option_lists)
            for attribute in attributes.values()
        },
        relation_ids=tuple(a.id for a in attributes.values() if a.type is AttributeType.RELATION),
        unique_ids=frozenset(a.id for a in attributes.values() if a.validation.unique),
        lifecycle=blueprint.lifecycles.get(schema.workflow_id or ""),
        default_scope={d.id: d.default_segment_id for d in blueprint.dimensions.values()},
    )

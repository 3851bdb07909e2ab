"""What counts for the completeness of the records of each schema, in each of their states.

They are what `GET /records/{id}/completeness` goes by, made from the same schemas: for each schema
and lifecycle state the attributes that are required and of which completeness tells the caller
nothing hidden.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from records_service.attributes.model import Attribute, AttributeType, Guard, SubAttribute
from records_service.blueprint.blueprint import Blueprint
from records_service.blueprint.compiled_schema import CompiledSchema, outline
from records_service.permissions.rules import Role
from records_service.values.completeness import holds

COUNTED_MAX: Final = 200_000
"""Attributes of states of all schemas of a search."""


class TooManyRules(Exception):
    """More counts in these schemas than a search can go by."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What counts in some schemas, as documents that a statement has as arguments."""

    counted: str
    """Schema, or `schema state`, -> positions of `forms`; a schema alone stands for its other
    states. Records of a schema that is not there have no score."""
    forms: str
    """Attribute, dimensions, guards, and what is asked of relations, of each that counts."""
    nested: Mapping[str, Attribute]
    """The complex attributes with relations in them, which take more than a document to tell."""
    looks_at_relations: bool
    """Whether a score depends on which records there are."""
    has_guards: bool
    """Whether some attribute counts only if its guards let it."""


def rules_of(
    blueprint: Blueprint,
    role: Role | None,
    schema_ids: Collection[str],
    state_name: str | None = None,
) -> Rules:
    """The rules for a caller; a role of None stands for one without restrictions.

    `state_name` is the id or alias of the state that records are scored for. Default: their own.
    A schema without such a state is not in the rules. Raises `TooManyRules`.
    """
    forms = _Forms()
    counted: dict[str, list[int]] = {}
    size = 0
    for schema_id in schema_ids:
        schema = outline(blueprint, schema_id)
        scored = None
        if state_name is not None:
            scored = schema.workflow.state_named(state_name) if schema.workflow else None
            if scored is None:
                continue
        states = schema.workflow.states if schema.workflow else {}
        others = counted[schema_id] = [
            forms.position(each, schema)
            for each in _counting(schema, role, None, scored.id if scored else None)
        ]
        size += len(others)
        for state_id in states:
            found = [
                forms.position(each, schema)
                for each in _counting(schema, role, state_id, scored.id if scored else state_id)
            ]
            if found != others:
                counted[f"{schema_id} {state_id}"] = found
                size += len(found)
        if size > COUNTED_MAX:
            raise TooManyRules
    return Rules(
        _json(counted),
        _json(forms.documents),
        forms.nested,
        forms.look_at_relations,
        forms.have_guards,
    )


def _counting(
    schema: CompiledSchema, role: Role | None, state_id: str | None, scored_id: str | None
) -> Iterator[Attribute]:
    """What may count of a record in a state when it is scored for a state, as far as it is told."""
    judged = None if role is None else schema.access(role, state_id).judged
    for attribute in schema.required_in(schema.state_of(scored_id)):
        if judged is not None and attribute.id not in judged:
            continue
        if all(holds(guard, _nothing) for guard in _guards(attribute, schema, is_known=False)):
            yield attribute


def _guards(attribute: Attribute, schema: CompiledSchema, *, is_known: bool) -> list[Guard]:
    """The guards that look at an attribute which the schema has, or has not."""
    return [
        each for each in attribute.guards if (each.attribute_id in schema.attributes) is is_known
    ]


def _nothing(_: str) -> None:
    return None


class _Forms:
    """The attributes that count, each once for each set of guards that schemas leave of it."""

    def __init__(self) -> None:
        self.documents: list[dict[str, Any]] = []
        self.nested: dict[str, Attribute] = {}
        self.look_at_relations = False
        self.have_guards = False
        self._positions: dict[tuple[str, tuple[int, ...]], int] = {}

    def position(self, attribute: Attribute, schema: CompiledSchema) -> int:
        """Where the attribute is, as it counts in a schema."""
        guards = _guards(attribute, schema, is_known=True)
        key = attribute.id, tuple(map(attribute.guards.index, guards))
        known = self._positions.get(key)
        if known is None:
            known = self._positions[key] = len(self.documents)
            document = self._form(attribute)
            if guards:
                self.have_guards = True
                document["guards"] = [
                    {
                        **self._form(schema.attributes[each.attribute_id]),
                        "operator": each.operator.value,
                        "value": each.value,
                    }
                    for each in guards
                ]
            self.documents.append(document)
        return known

    def _form(self, attribute: Attribute) -> dict[str, Any]:
        found: dict[str, Any] = {"id": attribute.id}
        if attribute.dimension_ids:
            found["dimensions"] = list(attribute.dimension_ids)
        if attribute.type is AttributeType.RELATION:
            self.look_at_relations = True
            found["target"] = attribute.target_schema_id or ""
        elif _has_relations(attribute.attributes):
            self.look_at_relations = True
            self.nested[attribute.id] = attribute
        return found


def _has_relations(fields: Iterable[SubAttribute]) -> bool:
    return any(
        each.type is AttributeType.RELATION or _has_relations(each.attributes) for each in fields
    )


def _json(document: Any) -> str:
    return orjson.dumps(document).decode()

"""Where a role sees an attribute: in which schemas, and in which lifecycle states of them.

A record takes part in a criterion only where its role sees the attribute: no page, total or facet
depends on a value that is hidden. A schema that has lost an attribute shows no value of it either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from records_service.attributes.model import ATTRIBUTE
from records_service.blueprint.blueprint import Blueprint
from records_service.permissions.rules import AttributePermission, Names, Role, permission
from records_service.schemas.model import SCHEMA


@dataclass(frozen=True, slots=True)
class Sight:
    """The schemas that have one attribute, by what a role sees of it."""

    having: frozenset[str]
    """All schemas that have it."""
    seen: frozenset[str]
    """Those in all of whose states the role sees it."""
    partly: Mapping[frozenset[str], frozenset[str]]
    """States that hide it -> the schemas in whose other states the role sees it."""

    @property
    def is_whole(self) -> bool:
        """Whether the role sees it wherever it is."""
        return self.seen == self.having

    @property
    def is_hidden(self) -> bool:
        """Whether the role sees it nowhere."""
        return not self.seen and not self.partly


def sight_of(blueprint: Blueprint, role: Role | None, attribute_id: str) -> Sight:
    """What the role sees of the attribute; None stands for an unrestricted caller."""
    having = blueprint.schemas_having.get(attribute_id, frozenset())
    if role is None:
        return Sight(having, having, {})
    attribute = blueprint.attributes[attribute_id]
    names = _names(blueprint, ATTRIBUTE.table, attribute_id, attribute.alias)
    seen: set[str] = set()
    partly: dict[frozenset[str], frozenset[str]] = {}
    for schema_id in having:
        schema = blueprint.schemas[schema_id]
        schema_names = _names(blueprint, SCHEMA.table, schema_id, schema.alias)
        if permission(role, schema_names, names) is AttributePermission.HIDDEN:
            continue
        hidden = _hiding_states(blueprint, schema.workflow_id, names)
        if hidden:
            partly[hidden] = partly.get(hidden, frozenset()) | {schema_id}
        else:
            seen.add(schema_id)
    return Sight(having, frozenset(seen), partly)


def _hiding_states(blueprint: Blueprint, workflow_id: str | None, names: Names) -> frozenset[str]:
    workflow = blueprint.workflows.get(workflow_id or "")
    if workflow is None:
        return frozenset()
    return frozenset(
        state.id
        for state in workflow.states.values()
        if names.id in state.hidden or not state.hidden.isdisjoint(names.aliases)
    )


def _names(blueprint: Blueprint, table: str, object_id: str, alias: str) -> Names:
    return Names(object_id, (alias, *blueprint.former_aliases.get((table, object_id), ())))

"""Which part of each record an answer shows: only some attributes, values resolved for one scope.

    GET /records?attributes=sku,price&scope={"dim-market":"seg-dk"}

What is named is looked up in the model of the workspace. An attribute that no role of the caller
shows in any schema is refused like one that there is not. One that a schema does not have, or that
is hidden in the state of a record, is left out of that record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import orjson
from pydantic import Field, Json

from records_service.attributes.model import ATTRIBUTE
from records_service.blueprint.blueprint import Blueprint
from records_service.blueprint.compiled_schema import names_in
from records_service.dimensions.model import Scope as ScopeShape
from records_service.permissions.rules import AttributePermission, Role, permission
from records_service.schemas.model import SCHEMA
from records_service.values.entries import (
    Scope,
    scope_named,
)
from shared.errors import ValidationError, Violation, truncated
from shared.http.shapes import DescribedAs, Shape

NAMES_MAX: Final = 1_000
TEXT_MAX: Final = 6_000


class ProjectionQuery(Shape):
    """Which part of each record to show, in a query string."""

    attributes: str | None = Field(default=None, max_length=TEXT_MAX, examples=["product-name,sku"])
    """Only these attributes (ids or aliases, separated by commas). Those that a record does not
    have, or that are hidden in it, are left out of it. Default: all."""
    scope: Annotated[str, DescribedAs(Json[ScopeShape])] | None = Field(
        default=None, examples=['{"dim-language":"seg-da"}']
    )
    """A scope as a JSON object; a dimension that is left out has its default segment. Each record
    then has `resolved`: the value of each attribute that applies in this scope."""


@dataclass(frozen=True, slots=True)
class Projection:
    """The part of records that is shown. Two that show the same are equal."""

    attribute_ids: frozenset[str] | None = None
    """None stands for all."""
    scope: tuple[tuple[str, str], ...] | None = None
    """By ids, sorted; a dimension that is not named has its default. None resolves nothing."""

    def of(self, visible: Mapping[str, str]) -> Mapping[str, str]:
        """What is shown of the attributes (id -> alias) that may be seen."""
        chosen = self.attribute_ids
        if chosen is None:
            return visible
        return {name: alias for name, alias in visible.items() if name in chosen}


def projection_of(
    query: ProjectionQuery, blueprint: Blueprint, role: Role | None
) -> Projection | None:
    """The projection that a query string asks for; None for whole records.

    Raises `ValidationError` for a scope or an attribute that there is not.
    """
    names = None
    if query.attributes is not None:
        names = [name for name in query.attributes.split(",") if name]
    scope = None if query.scope is None else scope_of(query.scope, blueprint)
    return projected(names, scope, blueprint, role)


def projected(
    names: Sequence[str] | None, scope: Scope | None, blueprint: Blueprint, role: Role | None
) -> Projection | None:
    """The projection to attributes (ids or aliases) and a scope (by ids); None for whole records.

    Raises `ValidationError` for attributes that there are not, or that are hidden from the role.
    """
    if names is None and scope is None:
        return None
    return Projection(
        None if names is None else _attribute_ids(names, blueprint, role),
        None if scope is None else tuple(sorted(scope.items())),
    )


def scope_of(text: str, blueprint: Blueprint) -> dict[str, str]:
    """The scope of a query string, by ids; `ValidationError` naming what is wrong with it."""
    expected = 'Field \'scope\' expects a JSON object such as {"dim-language": "seg-en"}'
    try:
        scope = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ValidationError.at("/scope", f"{expected}, got '{truncated(text)}'") from None
    if not isinstance(scope, dict):
        raise ValidationError.at("/scope", f"{expected}, got '{truncated(text)}'")
    return scope_named(scope, blueprint.dimensions, "/scope")


def _attribute_ids(names: Sequence[str], blueprint: Blueprint, role: Role | None) -> frozenset[str]:
    if len(names) > NAMES_MAX:
        raise ValidationError.at(
            "/attributes",
            f"Field 'attributes' must have at most {NAMES_MAX} items, got {len(names)}",
        )
    # As in values: an alias that is also the id of any attribute means that one.
    ids = {each.alias: each.id for each in blueprint.attributes.values()}
    ids |= {each: each for each in blueprint.attributes}
    found = {name: ids[name] for name in names if name in ids}
    if role is not None:
        seen = _seen(set(found.values()), blueprint, role)
        found = {name: each for name, each in found.items() if each in seen}
    ValidationError.check(
        Violation("/attributes", f"Unknown attribute '{truncated(name)}'")
        for name in dict.fromkeys(names)
        if name not in found
    )
    return frozenset(found.values())


def _seen(attribute_ids: set[str], blueprint: Blueprint, role: Role) -> set[str]:
    """Those of the attributes that the role sees in some schema, if a state does not hide them."""
    seen: set[str] = set()
    for schema in blueprint.schemas.values():
        here = (attribute_ids - seen).intersection(schema.attribute_ids)
        if here:
            schema_names = names_in(blueprint, SCHEMA, schema)
            seen |= {
                each
                for each in here
                for names in (names_in(blueprint, ATTRIBUTE, blueprint.attributes[each]),)
                if permission(role, schema_names, names) is not AttributePermission.HIDDEN
            }
    return seen

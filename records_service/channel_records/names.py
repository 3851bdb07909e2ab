"""Looks up what a channel names: its schema, its catalog, its scope, its attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from records_service.attributes.model import Attribute
from records_service.blueprint.blueprint import BLUEPRINTS, Blueprint
from records_service.catalogs.categories.reading import visible_catalog
from records_service.channel_records.model import ChannelNames
from records_service.context import Context
from records_service.values.entries import scope_named
from shared.errors import NotFound, ValidationError, Violation, truncated


@dataclass(frozen=True, slots=True)
class Named:
    """What the names mean in the model of this moment."""

    blueprint: Blueprint
    schema_id: str | None
    catalog_id: str | None
    scope: Mapping[str, str]
    attributes: Sequence[Attribute]


async def look_up(context: Context, asked: ChannelNames) -> Named:
    """What a channel names.

    Raises `NotFound` for a schema or catalog that does not exist or is not for the caller,
    `ValidationError` for a scope or attributes that there are not.
    """
    blueprint = await context.app[BLUEPRINTS].get(context.database, context.workspace_id)
    schema_id = schema_named(blueprint, asked.schema_id)
    catalog_id = asked.catalog_id
    if catalog_id is not None:
        catalog_id = await visible_catalog(context, catalog_id)
    scope = scope_named(asked.scope, blueprint.dimensions, "/dimensionScope")
    by_alias = {each.alias: each for each in blueprint.attributes.values()}
    found = [blueprint.attributes.get(name) or by_alias.get(name) for name in asked.attributes]
    ValidationError.check(
        Violation(
            f"/fieldMappings/{place}/sourceAttribute", f"Unknown attribute '{truncated(name)}'"
        )
        for place, (name, attribute) in enumerate(zip(asked.attributes, found, strict=True))
        if attribute is None
    )
    return Named(
        blueprint, schema_id, catalog_id, scope, [each for each in found if each is not None]
    )


def schema_named(blueprint: Blueprint, name: str | None) -> str | None:
    """The id of the schema with this id or alias; raises `NotFound`."""
    if name is None or name in blueprint.schemas:
        return name
    for schema in blueprint.schemas.values():
        if schema.alias == name:
            return schema.id
    raise NotFound.of("Schema", name)

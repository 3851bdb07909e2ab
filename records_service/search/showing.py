"""What a search shows of each record, as its body says."""

from __future__ import annotations

from collections.abc import Callable

from records_service.blueprint.blueprint import Blueprint
from records_service.context import Context
from records_service.records.projection import Projection, projected
from records_service.search.criteria import Reader
from records_service.search.model import Shown


def shown(context: Context, asked: Shown) -> Callable[[Blueprint, Reader], Projection | None]:
    """The projection of a body, in one version of the model; raises `ValidationError`."""

    def projection(blueprint: Blueprint, reader: Reader) -> Projection | None:
        scope = None if asked.scope is None else reader.scope(asked.scope, "/scope")
        return projected(asked.attributes, scope, blueprint, context.role)

    return projection

"""Maps Akeneo's attributes, and its other product fields, to attributes of Sigma."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deploy.importers.akeneo.reading import SourceAttribute
from deploy.importers.akeneo.rules import Rules, rules_of
from deploy.importers.akeneo.sources import Sources
from deploy.importers.akeneo.types import OF_A_LIST, SEVERAL_OF_A_LIST, TYPES, Shape, shape_of
from deploy.importers.names import CHANNEL, CURRENCY, ENABLED, GROUPS, LOCALE
from deploy.importers.plan import Kind, ModelObject, Problem


def attributes_of(sources: Sources) -> Iterator[ModelObject]:
    """All whose type is known; the others are refused."""
    for attribute in sources.catalogue.attributes.values():
        shape = shape_of(attribute)
        if shape is not None:
            yield _attribute(sources, attribute, shape)
            continue
        sources.ledger.problems.append(
            Problem(
                kind=Kind.ATTRIBUTES,
                source=attribute.code,
                message=f"type '{attribute.type}' is not supported",
                file="attributes.csv",
                attribute=attribute.code,
            )
        )
    yield _own(sources, ENABLED, "Enabled in Akeneo", "boolean")
    if sources.catalogue.product_groups:
        yield _of_groups(sources, GROUPS, "Product groups")
    for kind in sources.catalogue.association_types.values():
        label = sources.label(kind.code, kind.labels)
        products = sources.names.relation(kind.code)
        yield _own(sources, products, label, "relation", multiple=True)
        if sources.survey.links_to_models:
            models = sources.names.relation_models(kind.code)
            yield _own(sources, models, f"{label}: product models", "relation", multiple=True)
        if sources.catalogue.product_groups:
            groups = sources.names.relation_groups(kind.code)
            yield _of_groups(sources, groups, f"{label}: product groups")


def _attribute(sources: Sources, attribute: SourceAttribute, shape: Shape) -> ModelObject:
    names, code = sources.names, attribute.code
    rules = rules_of(attribute, shape, sources.ledger)
    body: dict[str, Any] = {
        "id": names.attribute(code),
        "alias": names.alias(code),
        "name": sources.label(code, attribute.labels),
        "description": f"Akeneo attribute {code} ({attribute.type})",
        "type": TYPES[shape],
        **sources.naming(code, attribute.labels),
        "dimensionIds": _dimension_ids(sources, attribute, shape),
        "inheritable": shape is not Shape.IDENTIFIER,
        "validation": {} if shape is Shape.MEASURE else rules,
    }
    if shape in OF_A_LIST:
        body["optionListId"] = names.option_list(code)
        body["multiple"] = shape in SEVERAL_OF_A_LIST
    if shape is Shape.MEASURE:
        body["attributes"] = _amount_and_unit(sources, attribute, rules)
    return ModelObject(Kind.ATTRIBUTES, code, body)


def _dimension_ids(sources: Sources, attribute: SourceAttribute, shape: Shape) -> list[str]:
    varies = (
        (attribute.localizable, LOCALE),
        (attribute.scopable, CHANNEL),
        (shape is Shape.PRICE and bool(sources.catalogue.currencies), CURRENCY),
    )
    return [sources.names.dimension(code) for does, code in varies if does]


def _amount_and_unit(
    sources: Sources, attribute: SourceAttribute, rules: Rules
) -> list[dict[str, Any]]:
    units = sources.names.unit_list(attribute.settings.get("metric_family", ""))
    return [
        {
            "alias": "amount",
            "name": "Amount",
            "type": "number",
            "validation": {"required": True, **rules},
        },
        {
            "alias": "unit",
            "name": "Unit",
            "type": "option",
            "optionListId": sources.names.option_list(units),
        },
    ]


def _of_groups(sources: Sources, code: str, name: str) -> ModelObject:
    list_id = sources.names.option_list(GROUPS)
    return _own(sources, code, name, "option", optionListId=list_id, multiple=True)


def _own(sources: Sources, code: str, name: str, kind: str, **more: Any) -> ModelObject:
    body = {
        "id": sources.names.attribute(code),
        "alias": sources.names.alias(code),
        "name": name,
        "description": f"Akeneo's {code} of a product",
        "type": kind,
        "dimensionIds": [],
        "validation": {},
        **more,
    }
    return ModelObject(Kind.ATTRIBUTES, code, body)

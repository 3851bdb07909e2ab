"""Maps each family, and the products without a family, to a workflow and a schema."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from deploy.importers.akeneo.reading import SourceAttribute, SourceFamily
from deploy.importers.akeneo.sources import Sources
from deploy.importers.akeneo.types import shape_of
from deploy.importers.csv_rows import key_of
from deploy.importers.names import ENABLED, GROUPS, WITHOUT_FAMILY
from deploy.importers.plan import Kind, ModelObject, Problem

PUBLISHING_SCORE_MIN = 80
DRAFT, REVIEW, PUBLISHED = "state-draft", "state-review", "state-published"


def families_of(sources: Sources) -> Iterator[ModelObject]:
    """The workflows first: a schema names its own."""
    families = dict(sources.catalogue.families)
    attributes = {key: _attributes_of(sources, family) for key, family in families.items()}
    if sources.survey.products_without_family:
        families[WITHOUT_FAMILY] = SourceFamily(
            code=WITHOUT_FAMILY,
            labels={sources.locale: "Without family"},
            attributes=(),
            requirements={},
            attribute_as_label="",
            attribute_as_image="",
        )
        identifier = sources.survey.identifier.attribute
        attributes[WITHOUT_FAMILY] = [
            attribute
            for key, attribute in sources.catalogue.attributes.items()
            if key in sources.survey.without_family or attribute is identifier
        ]
    for family in families.values():
        yield _workflow(sources, family)
    for key, family in families.items():
        yield _schema(sources, family, attributes[key])


def _attributes_of(sources: Sources, family: SourceFamily) -> list[SourceAttribute]:
    found = []
    for code in family.attributes:
        attribute = sources.catalogue.attributes.get(key_of(code))
        if attribute is not None:
            found.append(attribute)
            continue
        sources.ledger.problems.append(
            Problem(
                kind=Kind.SCHEMAS,
                source=family.code,
                message=f"names attribute '{code}', which is not in the catalogue",
                file="families.csv",
                attribute=code,
            )
        )
    return found


def _workflow(sources: Sources, family: SourceFamily) -> ModelObject:
    """Published asks for what some channel requires, review for what all of them do."""
    identifier = sources.survey.identifier.attribute
    always = [] if identifier is None else [key_of(identifier.code)]
    required = [_known_keys(sources, codes) for codes in family.requirements.values()]
    some = list(dict.fromkeys([*always, *(key for keys in required for key in keys)]))
    every = [key for key in some if key in always or all(key in keys for keys in required)]
    if len(every) < len(some):
        sources.ledger.left["requirements of only some channels (required for publishing)"] += len(
            some
        ) - len(every)
    names, code = sources.names, family.code
    body = {
        "id": names.workflow(code),
        "alias": names.alias(code),
        "name": f"{sources.label(code, family.labels)}: lifecycle",
        "description": f"Made from the requirements of Akeneo family {code}"
        if code != WITHOUT_FAMILY
        else "For products that have no family in Akeneo",
        "defaultStateId": DRAFT,
        "states": [
            _state(sources, DRAFT, "Draft", "#94a3b8", always),
            _state(sources, REVIEW, "Review", "#f59e0b", every),
            _state(sources, PUBLISHED, "Published", "#22c55e", some),
        ],
        "transitions": [
            {"fromStateId": DRAFT, "toStateId": REVIEW, "name": "Ask for review"},
            {
                "fromStateId": REVIEW,
                "toStateId": PUBLISHED,
                "name": "Publish",
                "requiresCompleteness": PUBLISHING_SCORE_MIN,
            },
            {"fromStateId": REVIEW, "toStateId": DRAFT, "name": "Send back"},
            {"fromStateId": PUBLISHED, "toStateId": DRAFT, "name": "Withdraw"},
        ],
    }
    return ModelObject(Kind.WORKFLOWS, code, body)


def _known_keys(sources: Sources, codes: Iterable[str]) -> list[str]:
    found = (sources.catalogue.attributes.get(key_of(code)) for code in codes)
    return [key_of(attribute.code) for attribute in found if attribute and shape_of(attribute)]


def _state(
    sources: Sources, state_id: str, name: str, color: str, required: Iterable[str]
) -> dict[str, Any]:
    return {
        "id": state_id,
        "name": name,
        "alias": name.lower(),
        "color": color,
        "required": [sources.names.attribute(key) for key in required],
    }


def _schema(
    sources: Sources, family: SourceFamily, attributes: list[SourceAttribute]
) -> ModelObject:
    names, code = sources.names, family.code
    groups = [*_attribute_groups(sources, attributes), *_own_groups(sources, family)]
    body = {
        "id": names.schema(code),
        "alias": names.alias(code),
        "name": sources.label(code, family.labels),
        **sources.naming(code, family.labels),
        "description": f"Akeneo family {code}"
        if code != WITHOUT_FAMILY
        else "Products that have no family in Akeneo",
        "variantEnabled": key_of(code) in sources.catalogue.variant_families,
        "workflowId": names.workflow(code),
        "attributeGroups": [
            {
                "id": names.group(code, group),
                "name": name,
                "labels": labels,
                "sortOrder": place,
                "attributeIds": [names.attribute(attribute) for attribute in codes],
            }
            for place, (group, name, labels, codes) in enumerate(groups)
        ],
    }
    return ModelObject(Kind.SCHEMAS, code, body)


Group = tuple[str, str, Mapping[str, str], list[str]]
"""Its code, its name and translations, and the codes of its attributes."""


def _attribute_groups(sources: Sources, attributes: Iterable[SourceAttribute]) -> Iterator[Group]:
    by_group: dict[str, list[SourceAttribute]] = {}
    for attribute in attributes:
        if shape_of(attribute) is not None:
            by_group.setdefault(key_of(attribute.group or "other"), []).append(attribute)
    known = sources.catalogue.groups

    def place(group: str) -> tuple[int, str]:
        return (known[group].sort_order if group in known else 0, group)

    for group in sorted(by_group, key=place):
        ordered = sorted(by_group[group], key=lambda one: (one.sort_order, one.code))
        labels: Mapping[str, str] = known[group].labels if group in known else {}
        translations = sources.naming(group, labels)["labels"]
        name = sources.label(group, labels)
        yield group, name, translations, [attribute.code for attribute in ordered]


def _own_groups(sources: Sources, family: SourceFamily) -> Iterator[Group]:
    """For what stands outside of the family, or beside the values."""
    catalogue, names = sources.catalogue, sources.names
    outside = _known_keys(sources, sources.survey.outside_family.get(key_of(family.code), {}))
    if outside:
        yield "outside-family", "Outside the family", {}, outside
    yield "akeneo", "Akeneo", {}, [ENABLED, GROUPS] if catalogue.product_groups else [ENABLED]
    kinds = [kind.code for kind in catalogue.association_types.values()]
    relations = [names.relation(code) for code in kinds]
    if sources.survey.links_to_models:
        relations += [names.relation_models(code) for code in kinds]
    if catalogue.product_groups:
        relations += [names.relation_groups(code) for code in kinds]
    if relations:
        yield "associations", "Associations", {}, relations

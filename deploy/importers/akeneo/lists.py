"""Maps options, units and product groups to option lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.importers.akeneo.reading import SourceAttribute
from deploy.importers.akeneo.sources import Sources
from deploy.importers.akeneo.types import OF_A_LIST, Shape, shape_of
from deploy.importers.csv_rows import key_of
from deploy.importers.names import GROUPS, Names
from deploy.importers.plan import Kind, ModelObject, Problem


@dataclass(slots=True)
class Lists:
    """The lists to create, and the ids by which products name their options."""

    objects: list[ModelObject] = field(default_factory=list)
    option_ids: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """Attribute -> option code -> option id; both keys in lower case."""
    unit_ids: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """Measurement family -> unit -> option id."""
    group_ids: Mapping[str, str] = field(default_factory=dict)
    """Product group -> option id."""


def lists_of(sources: Sources) -> Lists:
    """All of them; options of an attribute that does not exist are refused."""
    lists, catalogue = Lists(), sources.catalogue
    for key, attribute in catalogue.attributes.items():
        if shape_of(attribute) in OF_A_LIST:
            name = sources.label(attribute.code, attribute.labels)
            options = _options(sources, attribute)
            naming = sources.naming(attribute.code, attribute.labels)
            lists.option_ids[key] = _add(sources, lists, attribute.code, name, options, naming)
    for family, labels in _units(sources):
        code = sources.names.unit_list(family)
        name = f"Units of {family}"
        options = {unit: {"en_US": label} for unit, label in labels.items()}
        lists.unit_ids[key_of(family)] = _add(sources, lists, code, name, options, {})
    if catalogue.product_groups:
        options = {group.code: group.labels for group in catalogue.product_groups.values()}
        lists.group_ids = _add(sources, lists, GROUPS, "Product groups", options, {})
    sources.ledger.problems += _orphans(sources)
    return lists


Options = Mapping[str, Mapping[str, str]]
"""Code -> locale -> label."""


def _options(sources: Sources, attribute: SourceAttribute) -> Options:
    key = key_of(attribute.code)
    declared = sorted(
        sources.catalogue.options.get(key, ()), key=lambda option: (option.sort_order, option.code)
    )
    options = {option.code: option.labels for option in declared}
    if shape_of(attribute) in (Shape.FOUND_OPTION, Shape.FOUND_OPTIONS):
        for code in sources.survey.undeclared_codes.get(key, {}):
            options.setdefault(code, {})
        sources.ledger.notes.append(
            f"The options of attribute '{attribute.code}' ({attribute.type}) are the {len(options)}"
            " codes that products use: the catalogue has no options file for it"
        )
    return options


def _units(sources: Sources) -> Iterator[tuple[str, dict[str, str]]]:
    """Of each measurement family that an attribute has: those declared, and those used besides."""
    measured: dict[str, list[SourceAttribute]] = {}
    for attribute in sources.catalogue.attributes.values():
        if shape_of(attribute) is Shape.MEASURE:
            family = attribute.settings.get("metric_family", "")
            measured.setdefault(family, []).append(attribute)
    for family, attributes in measured.items():
        key = key_of(family)
        labels = dict(sources.catalogue.units.get(key, {}))
        known = {key_of(unit) for unit in labels}
        defaults = (attribute.settings.get("default_metric_unit", "") for attribute in attributes)
        for unit in [*defaults, *sources.survey.units.get(key, {})]:
            if unit and key_of(unit) not in known:
                known.add(key_of(unit))
                labels[unit] = unit
        yield family, labels


def _add(
    sources: Sources,
    lists: Lists,
    code: str,
    name: str,
    options: Options,
    naming: Mapping[str, Any],
) -> dict[str, str]:
    """One more list; the ids of its options by their codes."""
    names = sources.names
    body = {
        "id": names.option_list(code),
        "alias": names.alias(code),
        "name": name,
        **naming,
        "hierarchical": False,
        "values": [
            {
                "id": names.option(code, option),
                # Within its list it needs no prefix.
                "alias": Names().alias(option),
                "label": sources.label(option, labels),
                **sources.naming(option, labels),
                "sortOrder": place,
            }
            for place, (option, labels) in enumerate(options.items())
        ],
    }
    lists.objects.append(ModelObject(Kind.OPTION_LISTS, code, body))
    return {key_of(option): names.option(code, option) for option in options}


def _orphans(sources: Sources) -> Iterator[Problem]:
    for row, owner in sources.catalogue.orphan_options:
        yield Problem(
            kind=Kind.OPTION_LISTS,
            source=owner,
            message=f"option '{row.get('code')}' is of an attribute that does not exist",
            file="attribute_options.csv",
            line=row.line,
        )

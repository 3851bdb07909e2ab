"""Makes Sigma's model of an Akeneo catalogue: dimensions, lists, attributes, workflows, schemas.

Where Sigma has a place for something it goes there; where it has none, the thing is counted under
`left`, refused with a reason, or told in a note. Nothing disappears.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import re2

from deploy.move_in.akeneo.names import (
    CHANNEL,
    CURRENCY,
    ENABLED,
    GROUPS,
    LOCALE,
    WITHOUT_FAMILY,
    Names,
)
from deploy.move_in.akeneo.reading import (
    Catalogue,
    SourceAttribute,
    SourceFamily,
    UnreadableCatalogue,
    key_of,
)
from deploy.move_in.akeneo.survey import Survey
from deploy.move_in.akeneo.types import (
    OF_A_LIST,
    SEVERAL_OF_A_LIST,
    TYPES,
    Shape,
    shape_of,
)
from deploy.move_in.plan import Kind, ModelObject, Problem

PUBLISHING_SCORE_MIN = 80
DRAFT, REVIEW, PUBLISHED = "state-draft", "state-review", "state-published"
# What Akeneo's forms look like, which says nothing about the data.
_LOOKS = frozenset(
    {
        "auto_option_sorting",
        "default_metric_unit",
        "metric_family",
        "minimum_input_length",
        "reference_data_name",
        "useable_as_grid_filter",
        "wysiwyg_enabled",
    }
)
_BRACKETS = {"(": ")", "[": "]", "{": "}", "<": ">"}
_MOVED_FLAGS = "ims"


class Labelled(Protocol):
    """Anything with labels by locale."""

    @property
    def labels(self) -> Mapping[str, str]:
        """Locale -> label."""
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """What whoever moves decides; a default that is not named is what the products fill most."""

    names: Names = field(default_factory=Names)
    media_base_url: str | None = None
    default_locale: str | None = None
    default_channel: str | None = None
    default_currency: str | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """The objects to create, and what the products need to know of them."""

    objects: tuple[ModelObject, ...]
    option_ids: Mapping[str, Mapping[str, str]]
    """Attribute -> option code -> option id; both keys in lower case."""
    unit_ids: Mapping[str, Mapping[str, str]]
    """Measurement family -> unit -> option id."""
    group_ids: Mapping[str, str]
    """Product group -> option id."""
    left: Counter[str]
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]


def model_of(catalogue: Catalogue, survey: Survey, settings: Settings) -> Model:
    """The whole model, in the order in which it must be created."""
    return _Modeller(catalogue, survey, settings).model()


def attribute_pattern(regexp: str) -> str:
    """A PHP pattern such as `/^[A-Z]+$/i` as RE2 reads it; `ValueError` where it cannot."""
    if not regexp or regexp[0].isalnum() or regexp[0] in "\\ ":
        raise ValueError("it has no delimiters")
    closing = _BRACKETS.get(regexp[0], regexp[0])
    body, found, flags = regexp[1:].rpartition(closing)
    if not found:
        raise ValueError("its closing delimiter is missing")
    flags = flags.replace("u", "")  # RE2 reads text as Unicode anyway.
    if set(flags) - set(_MOVED_FLAGS):
        raise ValueError(f"modifier '{flags}' is not known here")
    pattern = f"(?{flags}){body}" if flags else body
    try:
        re2.compile(pattern)
    except re2.error:
        raise ValueError("it uses what RE2 does not have, such as a look-ahead") from None
    return pattern


@dataclass(slots=True)
class _Modeller:
    catalogue: Catalogue
    survey: Survey
    settings: Settings
    left: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    option_ids: dict[str, dict[str, str]] = field(default_factory=dict)
    unit_ids: dict[str, dict[str, str]] = field(default_factory=dict)
    group_ids: dict[str, str] = field(default_factory=dict)
    locale: str = ""
    """The default locale, whose labels become the names."""

    @property
    def names(self) -> Names:
        return self.settings.names

    def model(self) -> Model:
        dimensions = list(self._dimensions())
        objects = (
            *dimensions,
            *self._option_lists(),
            *self._attributes(),
            *self._family_objects(),
        )
        self._count_what_is_left()
        return Model(
            objects=objects,
            option_ids=self.option_ids,
            unit_ids=self.unit_ids,
            group_ids=self.group_ids,
            left=self.left,
            notes=tuple(self.notes),
            problems=tuple(self.problems),
        )

    def _dimensions(self) -> Iterator[ModelObject]:
        chosen, channels = self.settings, {c.code: c for c in self.catalogue.channels}
        self.locale = self._default(LOCALE, self.catalogue.locales, chosen.default_locale)
        yield self._dimension(
            LOCALE, "Locale", {code: code for code in self.catalogue.locales}, self.locale
        )
        yield self._dimension(
            CHANNEL,
            "Channel",
            {code: self._label(code, channel.labels) for code, channel in channels.items()},
            self._default(CHANNEL, tuple(channels), chosen.default_channel),
        )
        if self.catalogue.currencies:
            yield self._dimension(
                CURRENCY,
                "Currency",
                {code: code for code in self.catalogue.currencies},
                self._default(CURRENCY, self.catalogue.currencies, chosen.default_currency),
            )

    def _default(self, dimension: str, codes: tuple[str, ...], chosen: str | None) -> str:
        if chosen is None:
            return max(codes, key=lambda code: self.survey.used[dimension][code])
        if chosen not in codes:
            raise UnreadableCatalogue(
                f"no channel has {dimension} '{chosen}'; there are {', '.join(codes)}"
            )
        return chosen

    def _dimension(
        self, code: str, name: str, segments: Mapping[str, str], default: str
    ) -> ModelObject:
        names = self.names
        body = {
            "id": names.dimension(code),
            "alias": names.alias(code),
            "name": name,
            "defaultSegmentId": names.segment(default),
            "segments": [
                {"id": names.segment(segment), "alias": names.alias(segment), "name": label}
                for segment, label in segments.items()
            ],
        }
        return ModelObject(Kind.DIMENSIONS, code, body)

    def _option_lists(self) -> Iterator[ModelObject]:
        for key, attribute in self.catalogue.attributes.items():
            shape = shape_of(attribute)
            if shape not in OF_A_LIST:
                continue
            labels = {
                option.code: self._label(option.code, option.labels)
                for option in sorted(
                    self.catalogue.options.get(key, ()), key=lambda o: (o.sort_order, o.code)
                )
            }
            if shape in (Shape.FOUND_OPTION, Shape.FOUND_OPTIONS):
                for code in self.survey.undeclared_codes.get(key, {}):
                    labels.setdefault(code, code)
                self.notes.append(
                    f"The options of attribute '{attribute.code}' ({attribute.type}) are the"
                    f" {len(labels)} codes that products use: the catalogue has no file of them"
                )
            self.option_ids[key], made = self._option_list(
                attribute.code, self._label(attribute.code, attribute.labels), labels
            )
            yield made
        yield from self._unit_lists()
        if self.catalogue.product_groups:
            labels = {
                g.code: self._label(g.code, g.labels)
                for g in self.catalogue.product_groups.values()
            }
            self.group_ids, made = self._option_list(GROUPS, "Product groups", labels)
            yield made
        for row, owner in self.catalogue.orphan_options:
            self.problems.append(
                Problem(
                    kind=Kind.OPTION_LISTS,
                    source=owner,
                    message=f"option '{row.get('code')}' is of an attribute that does not exist",
                    file="attribute_options.csv",
                    line=row.line,
                )
            )

    def _unit_lists(self) -> Iterator[ModelObject]:
        measured: dict[str, list[SourceAttribute]] = {}
        for attribute in self.catalogue.attributes.values():
            if shape_of(attribute) is Shape.MEASURE:
                family = attribute.settings.get("metric_family", "")
                measured.setdefault(family, []).append(attribute)
        for family, attributes in measured.items():
            key = key_of(family)
            labels = dict(self.catalogue.units.get(key, {}))
            for attribute in attributes:
                unit = attribute.settings.get("default_metric_unit", "")
                if unit:
                    labels.setdefault(unit, unit)
            for unit in self.survey.units.get(key, {}):
                if key_of(unit) not in {key_of(known) for known in labels}:
                    labels[unit] = unit
            self.unit_ids[key], made = self._option_list(
                self.names.unit_list(family), f"Units of {family}", labels
            )
            yield made

    def _option_list(
        self, code: str, name: str, labels: Mapping[str, str]
    ) -> tuple[dict[str, str], ModelObject]:
        names = self.names
        ids = {key_of(option): names.option(code, option) for option in labels}
        body = {
            "id": names.option_list(code),
            "alias": names.alias(code),
            "name": name,
            "hierarchical": False,
            "values": [
                {
                    "id": names.option(code, option),
                    "alias": Names().alias(option),
                    "label": label,
                    "sortOrder": place,
                }
                for place, (option, label) in enumerate(labels.items())
            ],
        }
        return ids, ModelObject(Kind.OPTION_LISTS, code, body)

    def _attributes(self) -> Iterator[ModelObject]:
        for attribute in self.catalogue.attributes.values():
            shape = shape_of(attribute)
            if shape is None:
                self._refuse_attribute(attribute)
            else:
                yield self._attribute(attribute, shape)
        yield self._own_attribute(ENABLED, "Enabled in Akeneo", "boolean")
        if self.catalogue.product_groups:
            yield self._own_attribute(
                GROUPS,
                "Product groups",
                "option",
                optionListId=self.names.option_list(GROUPS),
                multiple=True,
            )
        for kind in self.catalogue.association_types.values():
            label = self._label(kind.code, kind.labels)
            yield self._own_attribute(
                self.names.relation(kind.code), label, "relation", multiple=True
            )
            if self.catalogue.product_groups:
                yield self._own_attribute(
                    self.names.relation_groups(kind.code),
                    f"{label}: product groups",
                    "option",
                    optionListId=self.names.option_list(GROUPS),
                    multiple=True,
                )

    def _attribute(self, attribute: SourceAttribute, shape: Shape) -> ModelObject:
        names, code = self.names, attribute.code
        body: dict[str, Any] = {
            "id": names.attribute(code),
            "alias": names.alias(code),
            "name": self._label(code, attribute.labels),
            "description": f"Akeneo attribute {code} ({attribute.type})",
            "type": TYPES[shape],
            "dimensionIds": self._dimension_ids(attribute, shape),
            "validation": self._validation(attribute, shape),
        }
        if shape in OF_A_LIST:
            body["optionListId"] = names.option_list(code)
            body["multiple"] = shape in SEVERAL_OF_A_LIST
        if shape is Shape.MEASURE:
            units = names.unit_list(attribute.settings.get("metric_family", ""))
            body["attributes"] = [
                {
                    "alias": "amount",
                    "name": "Amount",
                    "type": "number",
                    "validation": {"required": True, **body["validation"]},
                },
                {
                    "alias": "unit",
                    "name": "Unit",
                    "type": "option",
                    "optionListId": names.option_list(units),
                },
            ]
            body["validation"] = {}
        return ModelObject(Kind.ATTRIBUTES, code, body)

    def _own_attribute(self, code: str, name: str, kind: str, **more: Any) -> ModelObject:
        """An attribute for what Akeneo keeps beside a product's values."""
        body = {
            "id": self.names.attribute(code),
            "alias": self.names.alias(code),
            "name": name,
            "description": f"Akeneo's {code} of a product",
            "type": kind,
            "dimensionIds": [],
            "validation": {},
            **more,
        }
        return ModelObject(Kind.ATTRIBUTES, code, body)

    def _dimension_ids(self, attribute: SourceAttribute, shape: Shape) -> list[str]:
        varies = (
            (attribute.localizable, LOCALE),
            (attribute.scopable, CHANNEL),
            (shape is Shape.PRICE and bool(self.catalogue.currencies), CURRENCY),
        )
        return [self.names.dimension(code) for does, code in varies if does]

    def _validation(self, attribute: SourceAttribute, shape: Shape) -> dict[str, Any]:
        rules: dict[str, Any] = {}
        unmoved = {k: v for k, v in attribute.settings.items() if k not in _LOOKS}
        if shape is Shape.IDENTIFIER:
            rules["required"] = True
        if attribute.unique and TYPES[shape] in ("text", "number"):
            rules["unique"] = True
        elif attribute.unique:
            unmoved["unique"] = "1"
        if TYPES[shape] == "text":
            self._move_text_rules(attribute, unmoved, rules)
        if shape in (Shape.NUMBER, Shape.MEASURE, Shape.PRICE):
            _move_number_rules(unmoved, rules)
        for setting, value in unmoved.items():
            self.left[f"attribute setting {setting}={value}"] += 1
        return rules

    def _move_text_rules(
        self, attribute: SourceAttribute, unmoved: dict[str, str], rules: dict[str, Any]
    ) -> None:
        longest = unmoved.get("max_characters", "")
        if longest.isdigit():
            rules["maxLength"] = int(unmoved.pop("max_characters"))
        regexp = unmoved.get("validation_regexp")
        if regexp is None:
            return
        try:
            rules["pattern"] = attribute_pattern(regexp)
        except ValueError as why:
            self.notes.append(f"Attribute '{attribute.code}' loses its pattern {regexp}: {why}")
        else:
            del unmoved["validation_regexp"]
            if unmoved.get("validation_rule") == "regexp":
                del unmoved["validation_rule"]

    def _refuse_attribute(self, attribute: SourceAttribute) -> None:
        self.problems.append(
            Problem(
                kind=Kind.ATTRIBUTES,
                source=attribute.code,
                message=f"type '{attribute.type}' is not known to this move",
                file="attributes.csv",
                attribute=attribute.code,
            )
        )

    def _family_objects(self) -> Iterator[ModelObject]:
        """The workflows first: a schema names its own."""
        families = dict(self.catalogue.families)
        attributes = {key: self._attributes_of(family) for key, family in families.items()}
        if self.survey.products_without_family:
            identifier = self.survey.identifier.attribute
            families[WITHOUT_FAMILY] = SourceFamily(
                code=WITHOUT_FAMILY,
                labels={self.locale: "Without family"},
                attributes=(),
                requirements={},
                attribute_as_label="",
                attribute_as_image="",
            )
            # One product may fill anything here, and the next one something else.
            attributes[WITHOUT_FAMILY] = {
                key: None
                for key, attribute in self.catalogue.attributes.items()
                if key in self.survey.without_family or attribute is identifier
            }
        for family in families.values():
            yield self._workflow(family)
        for key, family in families.items():
            yield self._schema(family, attributes[key])

    def _attributes_of(self, family: SourceFamily) -> dict[str, None]:
        keys: dict[str, None] = {}
        for code in family.attributes:
            if key_of(code) in self.catalogue.attributes:
                keys[key_of(code)] = None
            else:
                self.problems.append(
                    Problem(
                        kind=Kind.SCHEMAS,
                        source=family.code,
                        message=f"names attribute '{code}', which the catalogue does not have",
                        file="families.csv",
                        attribute=code,
                    )
                )
        return keys

    def _workflow(self, family: SourceFamily) -> ModelObject:
        """Published asks for what some channel requires, review for what all of them do."""
        identifier = self.survey.identifier.attribute
        always = [] if identifier is None else [key_of(identifier.code)]
        required = {
            channel: dict.fromkeys(
                key_of(code)
                for code in codes
                if (found := self.catalogue.attributes.get(key_of(code))) and shape_of(found)
            )
            for channel, codes in family.requirements.items()
        }
        some = dict.fromkeys([*always, *(key for codes in required.values() for key in codes)])
        every = [key for key in some if all(key in codes for codes in required.values())]
        partly = len(some) - len(dict.fromkeys([*always, *every]))
        if partly:
            self.left["requirements of only some channels (asked for on publishing)"] += partly
        names, code = self.names, family.code
        label = self._label(code, family.labels)
        body = {
            "id": names.workflow(code),
            "alias": names.alias(code),
            "name": f"{label}: lifecycle",
            "description": f"Made from the requirements of Akeneo family {code}",
            "defaultStateId": DRAFT,
            "states": [
                _state(DRAFT, "Draft", "#94a3b8", self._attribute_ids(always)),
                _state(REVIEW, "Review", "#f59e0b", self._attribute_ids([*always, *every])),
                _state(PUBLISHED, "Published", "#22c55e", self._attribute_ids(some)),
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

    def _attribute_ids(self, keys: Iterable[str]) -> list[str]:
        return [self.names.attribute(key) for key in dict.fromkeys(keys)]

    def _schema(self, family: SourceFamily, keys: Mapping[str, None]) -> ModelObject:
        names, code = self.names, family.code
        groups = [*self._attribute_groups(code, keys)]
        outside = self.survey.outside_family.get(key_of(code), {})
        own = [ENABLED]
        kinds = self.catalogue.association_types.values()
        relations = [names.relation(kind.code) for kind in kinds]
        if self.catalogue.product_groups:
            own.append(GROUPS)
            relations += [names.relation_groups(kind.code) for kind in kinds]
        known = (key for key in outside if shape_of(self.catalogue.attributes[key]) is not None)
        groups += [
            self._group(code, group, name, attributes)
            for group, name, attributes in (
                ("outside-family", "Outside the family", list(known)),
                ("akeneo", "Akeneo", own),
                ("associations", "Associations", relations),
            )
            if attributes
        ]
        body = {
            "id": names.schema(code),
            "alias": names.alias(code),
            "name": self._label(code, family.labels),
            "description": f"Akeneo family {code}"
            if code != WITHOUT_FAMILY
            else "Products that have no family in Akeneo",
            "variantEnabled": key_of(code) in self.catalogue.variant_families,
            "workflowId": names.workflow(code),
            "attributeGroups": [
                {**group, "sortOrder": place} for place, group in enumerate(groups)
            ],
        }
        return ModelObject(Kind.SCHEMAS, code, body)

    def _attribute_groups(self, family: str, keys: Iterable[str]) -> Iterator[dict[str, Any]]:
        by_group: dict[str, list[SourceAttribute]] = {}
        for key in keys:
            attribute = self.catalogue.attributes[key]
            if shape_of(attribute) is not None:
                by_group.setdefault(key_of(attribute.group or "other"), []).append(attribute)

        def place(group: str) -> tuple[int, str]:
            known = self.catalogue.groups.get(group)
            return (known.sort_order if known else 0, group)

        for group in sorted(by_group, key=place):
            known = self.catalogue.groups.get(group)
            attributes = sorted(by_group[group], key=lambda a: (a.sort_order, a.code))
            yield self._group(
                family,
                group,
                self._label(known.code, known.labels) if known else group,
                [attribute.code for attribute in attributes],
            )

    def _group(self, family: str, code: str, name: str, attributes: list[str]) -> dict[str, Any]:
        return {
            "id": self.names.group(family, code),
            "name": name,
            "attributeIds": [self.names.attribute(attribute) for attribute in attributes],
        }

    def _label(self, code: str, labels: Mapping[str, str]) -> str:
        """In the default locale, or else in any: Sigma's names have one language."""
        return labels.get(self.locale) or next(iter(labels.values()), code)

    def _count_what_is_left(self) -> None:
        catalogue, families = self.catalogue, self.catalogue.families.values()
        labelled: tuple[Labelled, ...] = (
            *catalogue.attributes.values(),
            *catalogue.groups.values(),
            *(option for options in catalogue.options.values() for option in options),
            *families,
            *catalogue.channels,
            *catalogue.association_types.values(),
            *catalogue.product_groups.values(),
        )
        self.left.update(
            {
                "translations of the model's labels": sum(
                    max(len(thing.labels) - 1, 0) for thing in labelled
                ),
                "categories": catalogue.category_count,
                "product models": catalogue.product_models.count,
                "cells of product models": catalogue.product_models.cells,
                "family variants": catalogue.family_variant_count,
                "families' choice of an attribute as label": sum(
                    bool(family.attribute_as_label) for family in families
                ),
                "families' choice of an attribute as image": sum(
                    bool(family.attribute_as_image) for family in families
                ),
            }
        )
        if catalogue.unread_files:
            self.notes.append(f"Not read: {', '.join(catalogue.unread_files)}")


def _state(state_id: str, name: str, color: str, required: list[str]) -> dict[str, Any]:
    return {
        "id": state_id,
        "name": name,
        "alias": name.lower(),
        "color": color,
        "required": required,
    }


def _move_number_rules(unmoved: dict[str, str], rules: dict[str, Any]) -> None:
    """Takes from `unmoved` what has a rule; whole numbers only is one that has none."""
    for setting, rule in (("number_min", "min"), ("number_max", "max")):
        try:
            rules[rule] = float(unmoved[setting])
        except (KeyError, ValueError):
            continue
        del unmoved[setting]
    if unmoved.pop("negative_allowed", "") == "0":
        rules["min"] = max(rules.get("min", 0), 0)
    if unmoved.get("decimals_allowed") == "1":
        del unmoved["decimals_allowed"]

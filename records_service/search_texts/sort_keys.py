"""By what records are sorted that have texts, or values in scopes: a row for each such order.

A view is the order of an attribute, or of a field of one, in one scope: of texts and URLs of media;
of numbers, times and booleans only where they have a scope, because the search index has the order
of others (`search_index/terms.py`). Each record of a schema with the attribute has a row in each
view, also if it has no value there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice, product
from typing import Any, Final

import orjson

from records_service.attributes.model import Attribute, AttributeType, SubAttribute
from records_service.blueprint.blueprint import Blueprint
from records_service.blueprint.compiled_schema import CompiledSchema, outline
from records_service.search_index.terms import found_at, number_of
from records_service.search_texts.folding import FIRST_FOLDING, folded, folding_in
from records_service.values.entries import Values, resolve

SORTED_LENGTH_MAX: Final = 200
"""Characters of a text by which it is sorted: a cursor holds them."""
SCOPES_MAX: Final = 8
"""Of one attribute."""
NO_VALUE: Final = float("nan")
"""The number of a record without a value, which comes after all others."""
_TEXTS: Final = frozenset({AttributeType.TEXT, AttributeType.MEDIA})
_SCOPED: Final = frozenset({AttributeType.NUMBER, AttributeType.DATETIME, AttributeType.BOOLEAN})
_SORTED: Final = "sorted_views"
_IN_VIEWS: Final = "in_sorted_views"


@dataclass(frozen=True, slots=True)
class View:
    """One order of the records of a schema."""

    key: int
    attribute: Attribute
    path: tuple[str, ...]
    """The aliases of the fields that lead to a field."""
    type: AttributeType
    scope: Mapping[str, str]
    """A segment for each dimension of the attribute."""
    folding: int
    """The version of the rules by which texts are folded."""


@dataclass(frozen=True, slots=True)
class Sorted:
    """The views of a schema, with a digest of all that its rows depend on."""

    views: tuple[View, ...]
    digest: str
    keys: frozenset[int]
    """Of the views."""


def view_key(attribute_id: str, path: Sequence[str], scope: Mapping[str, str]) -> int:
    """The key of an order; the scope has a segment for each dimension of the attribute."""
    named = orjson.dumps([attribute_id, list(path), sorted(scope.items())])
    return int.from_bytes(blake2b(named, digest_size=8).digest(), signed=True)


def sorted_of(blueprint: Blueprint, schema_id: str) -> Sorted | None:
    """The views of a schema; None while its values, or what the index has of them, are changing."""
    if blueprint.settling:
        return None
    known: dict[str, Sorted | None] = blueprint.derived.setdefault(_SORTED, {})
    if schema_id not in known:
        known[schema_id] = _sorted_of(blueprint, schema_id)
    return known[schema_id]


def sort_row(view: View, values: Values) -> tuple[float, str]:
    """The number and the text of a record with these values in a view: one of both is constant."""
    entries = values.get(view.attribute.id) or []
    if view.attribute.dimension_ids:
        held = resolve(entries, view.scope, view.attribute.dimension_ids)
        entries = [] if held is None else [{"scope": {}, "value": held}]
    found = found_at(entries, view.path)
    value = found[0] if found else None
    if view.type in _TEXTS:
        if isinstance(value, dict):
            value = value.get("url")
        return (0.0, sorted_text(value, view.folding)) if isinstance(value, str) else (NO_VALUE, "")
    if view.type is AttributeType.BOOLEAN:
        return (float(value) if isinstance(value, bool) else NO_VALUE), ""
    number = number_of(view.type, value)
    return (NO_VALUE if number is None else number), ""


def sorted_text(text: str, folding: int) -> str:
    """By what a text is sorted, as `search/sql.py` has it."""
    return folded(text[: 2 * SORTED_LENGTH_MAX], folding)[:SORTED_LENGTH_MAX]


def sorts_may_differ(schema: CompiledSchema, differing: set[str]) -> bool:
    """Whether a record has another place in an order by these attributes, which are no texts."""
    others: frozenset[str] | None = schema.derived.get(_IN_VIEWS)
    if others is None:
        others = frozenset(
            each.id
            for each in schema.attributes.values()
            if each.type is not AttributeType.TEXT and any(_places(each))
        )
        schema.derived[_IN_VIEWS] = others
    return not others.isdisjoint(differing)


def _sorted_of(blueprint: Blueprint, schema_id: str) -> Sorted | None:
    views: list[View] = []
    folding = folding_in(blueprint)
    told: list[Any] = [] if folding == FIRST_FOLDING else [folding]
    for attribute in outline(blueprint, schema_id).attributes.values():
        places = list(_places(attribute))
        if not places:
            continue
        since = blueprint.filterable_since.get(attribute.id)
        if since is None:
            return None
        for scope in islice(_scopes(blueprint, attribute), SCOPES_MAX):
            for path, kind in places:
                key = view_key(attribute.id, path, scope)
                views.append(View(key, attribute, path, kind, scope, folding))
                told.append([key, kind, attribute.dimension_ids, since])
    digest = blake2b(orjson.dumps(told), digest_size=16).hexdigest()
    return Sorted(tuple(views), digest, frozenset(each.key for each in views))


def _places(attribute: Attribute) -> Iterator[tuple[tuple[str, ...], AttributeType]]:
    if attribute.filterable:
        kinds = _TEXTS | (_SCOPED if attribute.dimension_ids else frozenset())
        yield from _below((), attribute, kinds)


def _below(
    path: tuple[str, ...], definition: Attribute | SubAttribute, kinds: frozenset[AttributeType]
) -> Iterator[tuple[tuple[str, ...], AttributeType]]:
    if definition.type in kinds:
        yield path, definition.type
    for field in definition.attributes:
        yield from _below((*path, field.alias), field, kinds)


def _scopes(blueprint: Blueprint, attribute: Attribute) -> Iterator[dict[str, str]]:
    """The scopes of an attribute: first the default segments."""
    segments = []
    for dimension_id in attribute.dimension_ids:
        dimension = blueprint.dimensions[dimension_id]
        default = dimension.default_segment_id
        others = [each.id for each in dimension.segments if each.id != default]
        segments.append([default, *others])
    for chosen in product(*segments):
        yield dict(zip(attribute.dimension_ids, chosen, strict=True))

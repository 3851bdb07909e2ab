"""What the search index holds of a record."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from records_service.attributes.model import (
    AttributeType,
    SubAttribute,
    Validation,
    is_filterable,
)
from records_service.search_index.terms import (
    BUCKETS,
    bucket_of,
    in_buckets,
    indexed,
    is_same,
    key_of,
    none_term,
    number_lists,
    number_of,
    plan_of,
    schema_term,
    value_term,
)
from tests.unit.records.model_builders import an_attribute

WORKSPACE, SCHEMA, RECORD = "ws-1", "schema-apparel", "ent-1"


def field(alias: str, kind: AttributeType, *fields: SubAttribute, **more: Any) -> SubAttribute:
    return SubAttribute(
        alias, alias, kind, Validation(), None, more.get("multiple", False), None, fields
    )


def held(attributes: list[Any], **values: Any) -> Any:
    """What the index holds of a record; a value stands for one entry of no scope."""
    plan = plan_of(WORKSPACE, SCHEMA, attributes)
    of_record = {
        f"attr-{name}": value
        if isinstance(value, list) and value and isinstance(value[0], dict) and "scope" in value[0]
        else [{"scope": {}, "value": value}]
        for name, value in values.items()
    }
    return indexed(plan, RECORD, of_record)


def test_the_first_number_of_a_key_is_that_of_the_first_value():
    numbers = [(5, 0, 2.5), (5, 1, 1.0), (7, 2, 3.0), (7, 4, 4.0)]
    assert number_lists(numbers) == ([5, 5, 7, 7, 7], [2.5, 1.0, None, 3.0, 4.0])
    assert number_lists([]) == ([], [])


def terms_of(*found: int) -> list[int]:
    """These terms and that of the schema, as the record has them."""
    bucket = bucket_of(RECORD)
    return sorted((t | bucket for t in (schema_term(WORKSPACE, SCHEMA), *found)), reverse=True)


def value(name: str, text: str, *path: str) -> int:
    return value_term(WORKSPACE, f"attr-{name}", path, text)


def none(name: str, *path: str) -> int:
    return none_term(WORKSPACE, f"attr-{name}", path)


def filterable(name: str, kind: AttributeType = AttributeType.TEXT, **more: Any) -> Any:
    return an_attribute(f"attr-{name}", kind=kind, filterable=True, **more)


def test_each_chosen_option_of_every_scope_has_a_term():
    colour = filterable("colour", AttributeType.OPTION, multiple=True)
    entries = [
        {"scope": {}, "value": ["val-red", "val-blue"]},
        {"scope": {"dim-market": "seg-dk"}, "value": ["val-red", "val-green"]},
    ]
    found = held([colour], colour=entries)
    assert found.terms == terms_of(
        value("colour", "val-red"), value("colour", "val-blue"), value("colour", "val-green")
    )
    assert not found.numbers


def test_only_filterable_attributes_are_indexed():
    found = held([an_attribute("attr-name"), filterable("sku")], name="Shirt", sku="A-1")
    assert found.terms == terms_of(value("sku", "A-1"))


def test_texts_are_indexed_as_they_are_whatever_their_length():
    found = held([filterable("name")], name="É" * 5_000)
    assert found.terms == terms_of(value("name", "É" * 5_000))
    assert value("name", "shirt") != value("name", "Shirt")


@pytest.mark.parametrize(
    "kind, stored, text",
    [
        (AttributeType.BOOLEAN, True, "true"),
        (AttributeType.BOOLEAN, False, "false"),
        (AttributeType.RELATION, "ent-2", "ent-2"),
        (AttributeType.MEDIA, "https://a.example/x.png", "https://a.example/x.png"),
        (AttributeType.MEDIA, {"url": "https://a.example/", "alt": "x"}, "https://a.example/"),
    ],
)
def test_a_value_is_indexed_as_a_search_compares_it(kind: AttributeType, stored: Any, text: str):
    assert held([filterable("it", kind)], it=stored).terms == terms_of(value("it", text))


def test_a_record_without_a_value_has_a_term_that_says_so():
    attributes = [filterable("name"), filterable("weight", AttributeType.NUMBER)]
    assert held(attributes).terms == terms_of(none("name"), none("weight"))


@pytest.mark.parametrize("empty", ["", [], {}])
def test_what_is_empty_is_no_value(empty: Any):
    kind = AttributeType.COMPLEX if empty == {} else AttributeType.TEXT
    found = held([filterable("it", kind)], it=empty)
    assert none("it") | bucket_of(RECORD) in found.terms


def test_zero_and_false_are_values():
    attributes = [filterable("a", AttributeType.NUMBER), filterable("b", AttributeType.BOOLEAN)]
    assert held(attributes, a=0, b=False).terms == terms_of(value("b", "false"))


def test_each_number_is_held_once_with_its_first_position():
    sizes = filterable("sizes", AttributeType.NUMBER, multiple=True)
    found = held([sizes], sizes=[38, 40.5, 38.0, 40.5, 42])
    key = key_of("attr-sizes")
    assert found.numbers == [(key, 0, 38.0), (key, 1, 40.5), (key, 4, 42.0)]


@pytest.mark.parametrize(
    "text, at",
    [
        ("2024-02-29", datetime(2024, 2, 29, tzinfo=UTC)),
        ("20240229", datetime(2024, 2, 29, tzinfo=UTC)),
        ("2024-02-29T10", datetime(2024, 2, 29, 10, tzinfo=UTC)),
        ("2024-02-29 10:11:12,5", datetime(2024, 2, 29, 10, 11, 12, 500_000, tzinfo=UTC)),
        ("2024-02-29T10:11:12.1234567Z", datetime(2024, 2, 29, 10, 11, 12, 123_457, tzinfo=UTC)),
        ("2024-02-29T10:11:12+05:30", datetime(2024, 2, 29, 4, 41, 12, tzinfo=UTC)),
        ("1969-12-31T23:00:00-0100", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_time_is_its_microseconds(text: str, at: datetime):
    found = held([filterable("sold", AttributeType.DATETIME)], sold=text)
    [(_, _, number)] = found.numbers
    assert number == number_of(AttributeType.DATETIME, at)
    assert number == round(at.timestamp() * 1_000_000)


def test_operands_become_numbers_as_values_do():
    assert number_of(AttributeType.NUMBER, Decimal("0.1")) == number_of(AttributeType.NUMBER, 0.1)
    assert number_of(AttributeType.NUMBER, True) is None
    assert number_of(AttributeType.DATETIME, "no time") is None


def test_fields_of_a_complex_value_are_indexed_at_their_paths():
    size = filterable(
        "size",
        AttributeType.COMPLEX,
        attributes=(
            field("unit", AttributeType.OPTION),
            field(
                "box",
                AttributeType.COMPLEX,
                field("width", AttributeType.NUMBER, multiple=True),
                field("note", AttributeType.TEXT),
            ),
        ),
    )
    found = held(
        [size],
        size=[
            {
                "scope": {},
                "value": [
                    {"unit": "val-cm", "box": {"width": [3, 4]}},
                    {"unit": "val-in", "box": [{"width": 5}, {"width": [4, 6]}]},
                ],
            }
        ],
    )
    assert found.terms == terms_of(
        value("size", "val-cm", "unit"),
        value("size", "val-in", "unit"),
        none("size", "box", "note"),
    )
    key = key_of("attr-size", ("box", "width"))
    assert found.numbers == [(key, 0, 3.0), (key, 1, 4.0), (key, 2, 5.0), (key, 4, 6.0)]


def test_terms_differ_by_workspace_attribute_path_and_kind():
    found = {
        value_term("ws-1", "attr-a", (), "x"),
        value_term("ws-2", "attr-a", (), "x"),
        value_term("ws-1", "attr-b", (), "x"),
        value_term("ws-1", "attr-a", ("x",), ""),
        none_term("ws-1", "attr-a", ("x",)),
        none_term("ws-1", "attr-a"),
        schema_term("ws-1", "attr-a"),
    }
    assert len(found) == 7


def test_a_term_of_all_buckets_is_a_run_of_neighbours():
    term = value("sku", "A-1")
    assert in_buckets(term) == [term + bucket for bucket in range(BUCKETS)]
    assert all(-(2**63) <= each < 2**63 for each in in_buckets(term))


def test_records_are_spread_over_all_buckets():
    counts = [0] * BUCKETS
    for number in range(1_000 * BUCKETS):
        counts[bucket_of(f"ent-{number:06}")] += 1
    assert min(counts) > 800 and max(counts) < 1_200


def test_only_a_change_of_an_indexed_value_changes_the_index():
    plan = plan_of(WORKSPACE, SCHEMA, [an_attribute("attr-name"), filterable("sku")])
    old = {"attr-name": [{"scope": {}, "value": "a"}], "attr-sku": [{"scope": {}, "value": "b"}]}
    assert is_same(plan, old, {**old, "attr-name": [{"scope": {}, "value": "c"}]})
    assert not is_same(plan, old, {**old, "attr-sku": [{"scope": {}, "value": "c"}]})
    assert not is_same(plan, old, {"attr-name": old["attr-name"]})


def test_options_and_unique_attributes_are_filterable_unless_it_is_said():
    option, text = {"type": "option", "validation": {}}, {"type": "text", "validation": {}}
    assert is_filterable(option) and not is_filterable(text)
    assert is_filterable({**text, "validation": {"unique": True}})
    assert is_filterable({**text, "filterable": True})
    assert not is_filterable({**option, "filterable": False})

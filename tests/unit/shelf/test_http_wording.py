"""What is wrong with a body or a query is said in the contract's words."""

from __future__ import annotations

import gzip
import tracemalloc
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import orjson
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator

from shared.errors import PayloadTooLarge, ValidationError, Violation
from shared.http.json_types import js_type
from shared.http.messages import pointer_to, shown
from shared.http.requests import VALUES_MAX, parse_body, unpacked

LITTLE_TEXT = st.sampled_from(["", "a", "abc", "red", "2026-01-02T03:04:05Z", "name", "7"])


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Part(BaseModel):
    name: str
    weight: float = 0.0


class Thing(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    name: Annotated[str, Field(min_length=2, max_length=5, pattern="^[a-z]+$")] = "abc"
    size: Annotated[int, Field(ge=1, lt=10)] = 1
    ratio: Annotated[float, Field(gt=0, le=1)] = 1.0
    ready: bool = False
    colour: Colour | None = None
    kind: Literal["a", "b"] = "a"
    made_at: datetime | None = Field(default=None, alias="madeAt")
    tags: Annotated[list[str], Field(min_length=1, max_length=2)] = Field(default=["a"])
    parts: list[Part] = Field(default_factory=list)
    by_name: dict[str, Part] = Field(default_factory=dict, alias="byName")
    either: str | list[str] = "x"
    anything: Any = None

    @field_validator("anything")
    @classmethod
    def not_seven(cls, value: Any) -> Any:
        if value == 7:
            raise ValueError("seven is taken")
        return value


def refused(document: Any) -> list[Violation]:
    with pytest.raises(ValidationError) as raised:
        parse_body(orjson.dumps(document), Thing)
    assert raised.value.message == raised.value.violations[0].message
    return list(raised.value.violations)


@pytest.mark.parametrize(
    ("document", "pointer", "message"),
    [
        ({"name": 1}, "/name", "Field 'name' expects type 'string', got 'number'"),
        ({"name": None}, "/name", "Field 'name' expects type 'string', got 'null'"),
        ({"name": "a"}, "/name", "Field 'name' must have at least 2 characters, got 1"),
        ({"name": "abcdef"}, "/name", "Field 'name' exceeds maximum length 5, got 6"),
        ({"name": "ABC"}, "/name", "Field 'name' must match pattern '^[a-z]+$', got 'ABC'"),
        ({"size": "1"}, "/size", "Field 'size' expects type 'number', got 'string'"),
        ({"size": True}, "/size", "Field 'size' expects type 'number', got 'boolean'"),
        ({"size": 1.5}, "/size", "Field 'size' expects a whole number, got 1.5"),
        ({"size": 0}, "/size", "Field 'size' must be at least 1, got 0"),
        ({"size": 10}, "/size", "Field 'size' must be less than 10, got 10"),
        ({"ratio": 0}, "/ratio", "Field 'ratio' must be more than 0, got 0"),
        ({"ratio": 2}, "/ratio", "Field 'ratio' must be at most 1, got 2"),
        ({"ratio": "1"}, "/ratio", "Field 'ratio' expects type 'number', got 'string'"),
        ({"ready": 1}, "/ready", "Field 'ready' expects type 'boolean', got 'number'"),
        ({"ready": "true"}, "/ready", "Field 'ready' expects type 'boolean', got 'string'"),
        (
            {"colour": "pink"},
            "/colour",
            "Field 'colour' must be one of 'red' or 'blue', got 'pink'",
        ),
        ({"kind": "c"}, "/kind", "Field 'kind' must be one of 'a' or 'b', got 'c'"),
        (
            {"madeAt": "yesterday"},
            "/madeAt",
            "Field 'madeAt' expects an ISO 8601 date and time, got 'yesterday'",
        ),
        ({"tags": "a"}, "/tags", "Field 'tags' expects type 'array', got 'string'"),
        ({"tags": []}, "/tags", "Field 'tags' must have at least 1 item, got 0"),
        ({"tags": ["a"] * 3}, "/tags", "Field 'tags' must have at most 2 items, got 3"),
        ({"tags": ["a", 2]}, "/tags/1", "Field 'tags.1' expects type 'string', got 'number'"),
        ({"parts": {}}, "/parts", "Field 'parts' expects type 'array', got 'object'"),
        ({"parts": [1]}, "/parts/0", "Field 'parts.0' expects type 'object', got 'number'"),
        ({"parts": [{}]}, "/parts/0/name", "Field 'parts.0.name' is required"),
        (
            {"byName": {"a/b~c": {}}},
            "/byName/a~1b~0c/name",
            "Field 'byName.a/b~c.name' is required",
        ),
        ({"either": 1}, "/either", "Field 'either' expects type 'string' or 'array', got 'number'"),
        ({"anything": 7}, "/anything", "Field 'anything': seven is taken"),
        ([], "", "Body expects type 'object', got 'array'"),
        (None, "", "Body expects type 'object', got 'null'"),
    ],
)
def test_one_violation_is_told_with_what_was_expected_and_what_came(document, pointer, message):
    assert refused(document) == [Violation(pointer, message)]


def test_all_violations_are_collected_in_the_order_of_the_model():
    found = refused({"parts": [{"weight": "1"}], "size": 0, "name": 1})
    assert [violation.pointer for violation in found] == [
        "/name",
        "/size",
        "/parts/0/name",
        "/parts/0/weight",
    ]


def test_a_flood_of_violations_is_cut():
    assert len(refused({"parts": [1] * 5_000})) == 100


def test_what_is_right_is_read_and_what_is_unknown_ignored():
    body = (
        b'{"name": "abc", "ratio": 1, "colour": "red", "madeAt": "2026-01-02T03:04:05Z",'
        b' "unknown": 1, "byName": {"x": {"name": "y"}}, "anything": [1, 2.5, null]}'
    )
    thing = parse_body(body, Thing)
    assert (thing.name, thing.colour, thing.by_name["x"].name) == ("abc", Colour.RED, "y")
    assert thing.made_at == datetime.fromisoformat("2026-01-02T03:04:05+00:00")
    assert thing.anything == [1, 2.5, None]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 12) | st.sampled_from([0.5, 2.0]) | LITTLE_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(LITTLE_TEXT, inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from([info.alias or name for name, info in Thing.model_fields.items()])


@given(st.dictionaries(FIELDS, JSON, max_size=4))
def test_both_ways_of_reading_come_to_the_same(document: dict[str, Any]):
    raw = orjson.dumps(document)
    try:
        expected: Any = Thing.model_validate_json(raw, strict=True)
    except pydantic.ValidationError:
        expected = None
    try:
        assert parse_body(raw, Thing) == expected
    except ValidationError:
        assert expected is None


@pytest.mark.parametrize(
    ("number", "taken"),
    [
        ("18446744073709551615", True),
        ("18446744073709551616", False),
        ("-9223372036854775808", True),
        ("-9223372036854775809", False),
        ("1" + "0" * 308, False),
        ('"12345678901234567890123"', True),
    ],
)
def test_an_integer_that_could_not_be_written_again_is_refused(number: str, taken: bool):
    raw = f'{{"anything": {{"deep": [0, {number}]}}}}'.encode()
    if taken:
        assert orjson.dumps(parse_body(raw, Thing).anything)
        return
    with pytest.raises(ValidationError) as raised:
        parse_body(raw, Thing)
    assert raised.value.message == ("Field 'anything.deep.1' is an integer of more than 64 bits")
    assert raised.value.violations[0].pointer == "/anything/deep/1"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (rb'{"anything": ["a", "b\u0000"]}', "Field 'anything.1' contains a NUL character"),
        (rb'{"anything": {"a\u0000": 1}}', "Field 'anything' contains a NUL character in a name"),
        (
            rb'{"tags": ["a\u0000"], "anything": "\u0000"}',
            "Field 'tags.0' contains a NUL character",
        ),
        (
            rb'{"byName": {"x": {"name": "\u0000"}}}',
            "Field 'byName.x.name' contains a NUL character",
        ),
    ],
)
def test_a_nul_is_refused_wherever_it_is(raw: bytes, message: str):
    with pytest.raises(ValidationError) as raised:
        parse_body(raw, Thing)
    assert raised.value.message == message


def test_what_is_ignored_may_hold_anything():
    raw = rb'{"unknown": ["\u0000", 123456789012345678901234567890], "\u0000": 1, "name": "abc"}'
    assert parse_body(raw, Thing).name == "abc"


def test_an_escaped_backslash_before_u0000_is_no_nul():
    assert parse_body(rb'{"anything": "\\u0000"}', Thing).anything == "\\u0000"


def test_nesting_beyond_the_second_parser_is_a_refusal_too():
    raw = b'{"anything": ' + b"[" * 500 + b"]" * 500 + b"}"
    with pytest.raises(ValidationError) as raised:
        parse_body(raw, Thing)
    assert raised.value.message == "Malformed JSON: nested too deeply"
    long = raw[:-501] + b"1" * 30 + raw[-501:]
    with pytest.raises(ValidationError) as raised:
        parse_body(long, Thing)
    assert raised.value.message == "Malformed JSON: nested too deeply"


@pytest.mark.parametrize("raw", [b'{"anything": "\xff"}', '{"anything": 1}'.encode("utf-16")])
def test_a_body_in_another_encoding_is_refused_in_plain_words(raw: bytes):
    with pytest.raises(ValidationError) as raised:
        parse_body(raw, Thing)
    assert raised.value.message == "Malformed JSON: the body is not UTF-8"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "null"),
        (True, "boolean"),
        (1, "number"),
        (1.5, "number"),
        ("a", "string"),
        ([], "array"),
        ((), "array"),
        ({}, "object"),
    ],
)
def test_types_have_their_json_names(value: Any, name: str):
    assert js_type(value) == name


def test_what_is_quoted_is_short():
    assert shown("a" * 101) == f"'{'a' * 100}…'"
    assert shown([1, 2]) == "array of 2"
    assert (shown(True), shown(None), shown(1.5)) == ("true", "null", "1.5")


def test_pointers_escape_what_they_must():
    assert pointer_to(("a/b", "c~d", 0)) == "/a~1b/c~0d/0"
    assert pointer_to(()) == ""


def test_a_bomb_is_not_unpacked_to_see_how_large_it_is():
    bomb = gzip.compress(b" " * (64 << 20))
    tracemalloc.start()
    with pytest.raises(PayloadTooLarge, match="exceeds 1000 bytes"):
        unpacked(bomb, "gzip", 1_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


def test_gzip_of_very_many_members_is_refused_before_they_are_copied():
    member = gzip.compress(b"")
    assert unpacked(gzip.compress(b"{") + gzip.compress(b"}"), "gzip", 1_000) == b"{}"
    with pytest.raises(ValidationError, match="more than 16 members"):
        unpacked(member * 100_000, "gzip", 1_000)


MUCH = "[[]]," * (VALUES_MAX // 4)
LONG = "9" * 20


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (r'"\u0000"', "The body contains a NUL character"),
        (LONG, "The body contains an integer of more than 64 bits"),
    ],
)
def test_where_something_is_in_a_large_body_is_not_looked_for_to_the_end(end: str, message: str):
    with pytest.raises(ValidationError) as raised:
        parse_body(f'{{"anything": [{MUCH}{end}]}}'.encode(), Thing)
    assert raised.value.message == message


def test_a_large_body_that_only_looks_as_if_is_taken():
    raw = rf'{{"unknown": "\u0000", "anything": [{MUCH}"{LONG}", "\\u0000"]}}'
    assert parse_body(raw.encode(), Thing).anything[-2:] == [LONG, r"\u0000"]


@pytest.mark.parametrize(
    "many",
    [
        b"[" + b"[]," * VALUES_MAX + b"1]",
        b"[" + b"1," * VALUES_MAX + b"1]",
        b"{" + b'"same":1,' * VALUES_MAX + b'"same":1}',
        b"[" + rb'"\"\\",' * VALUES_MAX + b"1]",
        b"[" + b"[" * VALUES_MAX,
    ],
    ids=["arrays", "items", "one name again and again", "texts", "brackets"],
)
def test_a_body_of_very_many_values_is_refused_before_they_are_made(many: bytes):
    for raw in (many, b'{"anything": ' + many + b"}"):
        with pytest.raises(PayloadTooLarge) as raised:
            parse_body(raw, Thing)
        assert raised.value.message == f"Request body exceeds {VALUES_MAX} values"


def test_commas_and_brackets_inside_of_texts_are_no_values():
    text = 'a, "b", [c], {d}\\' * 100_000
    raw = orjson.dumps({"anything": [text, "x", text]})
    assert raw.count(b",") > VALUES_MAX
    assert parse_body(raw, Thing).anything == [text, "x", text]


def test_what_a_large_catalogue_sends_is_not_too_much():
    scope = {"dim-language": "seg-da", "dim-market": "seg-dk", "dim-channel": "seg-web"}
    option = {"id": "val-1", "alias": "1", "label": "One", "sortOrder": 1, "parentId": "val-0"}
    permissions = {f"attr-{number}": "write" for number in range(40)}
    for large in (
        [{"scope": scope, "value": "A text"}] * 15_000,
        [{**option, "metadata": None}] * 10_000,
        [{"schemaId": "schema-1", "attributePermissions": permissions}] * 500,
    ):
        assert parse_body(orjson.dumps({"anything": large}), Thing).anything == large


def test_nesting_is_refused_where_it_could_not_be_written_again():
    def nested(depth: int) -> bytes:
        return b'{"anything": ' + b"[" * depth + b"]" * depth + b"}"

    assert orjson.dumps({"event": {"data": {"changes": [parse_body(nested(180), Thing).anything]}}})
    with pytest.raises(ValidationError, match="nested too deeply"):
        parse_body(nested(200), Thing)

"""Numbers come back as they were sent, or are refused; nothing else is refused with them."""

from __future__ import annotations

import math
import time
from typing import Any

import orjson
import pytest
from pydantic import AliasChoices, BaseModel, Field

from shared.errors import ValidationError
from shared.http import exactness
from shared.http.numbers import NOT_KEPT, Number
from shared.http.requests import parse_body


class Inner(BaseModel):
    value: Any = None
    known: str = ""


class Body(BaseModel):
    values: Any = None
    inner: list[Inner] = []
    least: Number | None = None
    other: Any = Field(default=None, validation_alias=AliasChoices("other", "another"))


@pytest.mark.parametrize(
    "literal",
    [
        "0.12345678901234567890123",
        "3.0000000000000000001",
        "99999999999999999999.5",
        "123456789123456.12345",
        "9999999999999999e1",
        "1e-400",
        "-1E-0400",
        "1.5e-330",
        "9007199254740993.0",
        "0." + "1" * 1000,
        "1e-99999999999999999999",
    ],
)
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"values": %s}', "values"),
        ('{"values": [{"a": {"b": [1, %s]}}]}', "values.0.a.b.1"),
        ('{"inner": [{}, {"value": %s}]}', "inner.1.value"),
        ('{"another": {"x": %s}}', "another.x"),
    ],
)
def test_a_number_that_would_come_back_different_is_refused_by_name(
    literal: str, body: str, field: str
):
    with pytest.raises(ValidationError) as raised:
        parse_body((body % literal).encode(), Body)
    told = literal if len(literal) <= 100 else literal[:100] + "…"
    assert raised.value.message == f"Field '{field}' {NOT_KEPT}, got {told}"
    assert raised.value.violations[0].pointer == "/" + field.replace(".", "/")


@pytest.mark.parametrize(
    "literal",
    [
        "2.30",
        "400.00",
        "3.0E-4",
        "0.1",
        "0.12345678901234568",
        "1.7976931348623157e308",
        "1e100",
        "1e-300",
        "123456789012345.6",
        "1.50000000000000000000000000",
        "0.00000000000000000000000000",
        "0e-99999999999999999999",
        "18446744073709551615",
        "-9223372036854775808",
    ],
)
def test_a_number_that_is_the_same_afterwards_is_taken(literal: str):
    read = parse_body(f'{{"values": [{literal}]}}'.encode(), Body).values[0]
    assert read == orjson.loads(literal)


def test_texts_and_what_the_model_does_not_name_are_no_numbers():
    sent = (
        '{"values": ["1e-400, 0.12345678901234567890123", "\\\\\\"[-0.0,1e-400"],'
        ' "unknown": [1e-400], "inner": [{"unknown": 0.12345678901234567890123}]}'
    )
    read = parse_body(sent.encode(), Body)
    assert read.values == ["1e-400, 0.12345678901234567890123", '\\"[-0.0,1e-400']


@pytest.mark.parametrize("literal", ["-0.0", "-0e0", "-0.000E+5"])
def test_a_negative_zero_is_zero_as_it_is_in_the_database(literal: str):
    text = f'{{"values": [{literal}, -0.5, "-0.0, \\"-0.0"], "least":{literal}}}'
    read = parse_body(text.encode(), Body)
    assert read.values == [0.0, -0.5, '-0.0, "-0.0']
    assert math.copysign(1, read.values[0]) == 1
    assert math.copysign(1, read.least or 0.0) == 1


def test_a_text_that_never_ends_is_refused_in_linear_time():
    """Compared with the time for an eighth of it, so that no clock decides.

    Whatever else happens only adds to it: so the least of some tries counts.
    """

    def cpu_s(length: int) -> float:
        raw = b"-0.0" + b'"\\' * length
        spent = []
        for _ in range(20):
            began = time.thread_time()
            with pytest.raises(ValidationError, match="Malformed JSON"):
                parse_body(raw, Body)
            spent.append(time.thread_time() - began)
        return min(spent)

    assert cpu_s(16_000) < 24 * cpu_s(2_000)


def test_a_whole_number_where_a_double_is_kept_must_be_one():
    assert parse_body(b'{"least": 9007199254740992}', Body).least == 2**53
    with pytest.raises(ValidationError) as raised:
        parse_body(b'{"least": 9007199254740993}', Body)
    assert raised.value.message == f"Field 'least' {NOT_KEPT}, got 9007199254740993"


def test_a_body_may_begin_with_a_byte_order_mark():
    assert parse_body('\ufeff{"values": "x"}'.encode(), Body).values == "x"
    with pytest.raises(ValidationError, match="Malformed JSON"):
        parse_body('\ufeff\ufeff{"values": "x"}'.encode(), Body)


@pytest.mark.parametrize(
    "text", ["8e1340", "1234567890123456789", "550e8400-e29b-41d4-a716-446655440000", "a-1.5E-400"]
)
def test_digits_in_texts_do_not_cost_a_second_reading(text: str, monkeypatch: pytest.MonkeyPatch):
    again: list[bytes] = []
    monkeypatch.setattr(exactness, "_check_numbers", lambda raw, read: again.append(raw))
    parse_body(orjson.dumps({"values": text}), Body)
    assert again == []
    parse_body(b'{"values": [ %s]}' % b"-1.5E-400", Body)
    assert len(again) == 1
    # A large body is read again at once: to search it would take longer.
    parse_body(orjson.dumps({"values": text + " " * (1 << 16)}), Body)
    assert len(again) == 2


@pytest.mark.parametrize("literal", ["1e400", "-1e999", "9" * 400])
def test_a_number_that_is_too_large_is_refused_by_its_place(literal: str):
    with pytest.raises(ValidationError) as raised:
        parse_body(b'{\n"values": %s}' % literal.encode(), Body)
    assert raised.value.message == (
        "Malformed JSON: the number at line 2 column 11 is too large, expected at most 1.797e308"
    )

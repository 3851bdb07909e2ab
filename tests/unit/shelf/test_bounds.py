"""What a client may put into one list or object is counted before it is looked at."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter

from shared.http.bounds import SLICE, AtMost

Small = Annotated[int, Field(ge=0)]


class Item(BaseModel):
    names: Annotated[list[str], AtMost(2_000)] = []
    words: Annotated[dict[str, Literal["a", "b"]], AtMost(2_000)] = {}


class Basket(BaseModel):
    items: Annotated[list[Item], Field(min_length=1), AtMost(2_000)]


def errors_of(model: type[BaseModel], sent: Any) -> list[Any]:
    with pytest.raises(pydantic.ValidationError) as raised:
        model.model_validate(sent, strict=True)
    return list(raised.value.errors())


def test_too_many_members_are_refused_before_they_are_looked_at():
    for sent, kind in (([1] * 2_001, "names"), (dict.fromkeys(map(str, range(2_001)), 1), "words")):
        (error,) = errors_of(Item, {kind: sent})
        assert (error["type"], error["loc"]) == ("too_long", (kind,))
        assert error["ctx"]["max_length"] == 2_000
        assert len(error["input"]) == 2_001


def test_too_few_are_refused_as_well():
    (error,) = errors_of(Basket, {"items": []})
    assert error["type"] == "too_short"


def test_wrong_members_are_told_with_their_places_and_not_for_ever():
    found = errors_of(Item, {"names": ["a"] * 950 + [1] * 1_000})
    assert [error["loc"] for error in found] == [("names", place) for place in range(950, 1_000)]
    words = {str(number): "a" if number < 950 else 1 for number in range(2_000)}
    found = errors_of(Item, {"words": words})
    assert [error["loc"] for error in found] == [("words", str(n)) for n in range(950, 1_000)]


def test_wrong_members_of_many_lists_are_bounded_too():
    everything_wrong = {"names": [1] * 2_000, "words": dict.fromkeys(map(str, range(2_000)), 1)}
    assert len(errors_of(Basket, {"items": [everything_wrong] * 2_000})) <= 2 * SLICE * SLICE


@given(st.lists(st.integers(-1, 300) | st.just("x"), max_size=2 * SLICE + 50))
def test_slices_read_as_one_piece_does(sent: list[Any]):
    plain = TypeAdapter(list[Small])
    bounded = TypeAdapter(Annotated[list[Small], AtMost(1_000)])
    try:
        expected = plain.validate_python(sent, strict=True)
    except pydantic.ValidationError as error:
        with pytest.raises(pydantic.ValidationError) as raised:
            bounded.validate_python(sent, strict=True)
        told = raised.value.errors(include_url=False)
        assert told == error.errors(include_url=False)[: len(told)]
    else:
        assert bounded.validate_python(sent, strict=True) == expected


def test_the_bound_is_described():
    schema = Item.model_json_schema()["properties"]
    assert schema["names"]["maxItems"] == 2_000
    assert schema["words"]["maxProperties"] == 2_000
    assert Basket.model_json_schema()["properties"]["items"]["minItems"] == 1


def test_it_is_not_for_texts():
    with pytest.raises(TypeError, match="not for str"):
        TypeAdapter(Annotated[str, AtMost(3)])

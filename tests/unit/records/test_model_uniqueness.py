from __future__ import annotations

from typing import Any

import pytest

from records_service.attributes.model import Validation
from records_service.attributes.unique_keys import unique_keys_of
from tests.unit.records.model_builders import an_attribute

SKU = an_attribute("attr-sku", validation=Validation(unique=True))


def key_of(value: Any, **scope: str) -> tuple[str, bytes]:
    (found,) = unique_keys_of(SKU, [{"scope": scope, "value": value}])
    assert found.attribute_id == "attr-sku"
    return found.scope, found.value_hash


def test_equal_values_make_one_key():
    assert key_of("AB-1") == key_of("AB-1")
    assert key_of("AB-1", a="1", b="2") == key_of("AB-1", b="2", a="1")


@pytest.mark.parametrize("other", [1.0, -0.0 + 1])
def test_numbers_are_equal_as_numbers(other: float):
    assert key_of(1) == key_of(other)
    assert key_of(0) == key_of(-0.0)
    assert key_of(2**60) == key_of(float(2**60))


@pytest.mark.parametrize(
    ("one", "other"), [("AB-1", "ab-1"), (1, "1"), (1, 1.5), (0.1, 0.2), ("a", "a ")]
)
def test_different_values_do_not_collide(one: Any, other: Any):
    assert key_of(one) != key_of(other)


def test_a_value_is_claimed_per_scope():
    assert key_of("AB-1") != key_of("AB-1", market="dk")
    assert key_of("AB-1", market="se") != key_of("AB-1", market="dk")


def test_every_entry_makes_a_claim():
    entries = [{"scope": {}, "value": "A"}, {"scope": {"m": "dk"}, "value": "B"}]
    assert [one.value for one in unique_keys_of(SKU, entries)] == ["A", "B"]


def test_an_attribute_that_is_not_unique_claims_nothing():
    assert unique_keys_of(an_attribute("attr-name"), [{"scope": {}, "value": "A"}]) == []

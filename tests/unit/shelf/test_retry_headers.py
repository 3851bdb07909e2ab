"""What `Idempotency-Key` and `Prefer` say."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from shared.errors import ValidationError
from shared.http.retries import idempotency_key, preferences, wants_dry_run


def headers(*pairs: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(pairs))


@pytest.mark.parametrize("key", ["a", "!~", "x" * 255, '"quoted"', "3f2c-9,1"])
def test_a_key_is_taken_as_it_is(key: str):
    assert idempotency_key(headers(("idempotency-key", key))) == key


def test_without_the_header_there_is_no_key():
    assert idempotency_key(headers()) is None


@pytest.mark.parametrize("sent", [[""], ["x" * 256], ["a b"], ["a\tb"], ["é"], ["a", "a"]])
def test_another_key_is_refused(sent: list[str]):
    with pytest.raises(ValidationError) as raised:
        idempotency_key(headers(*(("Idempotency-Key", one) for one in sent)))
    assert raised.value.message.startswith(
        "Header 'Idempotency-Key' expects 1 to 255 visible ASCII characters, got '"
    )
    assert [one.pointer for one in raised.value.violations] == ["/Idempotency-Key"]
    assert len(raised.value.message) < 200


@pytest.mark.parametrize(
    "sent",
    [
        ["dry-run"],
        ["Dry-Run"],
        ["respond-async, dry-run"],
        ["respond-async", "dry-run"],
        ['foo="a, b; c\\"", dry-run; bar=1'],
        ['dry-run=""'],
        ["  dry-run  ;x"],
    ],
)
def test_a_dry_run_is_wanted(sent: list[str]):
    assert wants_dry_run(headers(*(("Prefer", one) for one in sent)))


@pytest.mark.parametrize(
    "sent", [[], [""], ["return=minimal"], ['foo="dry-run"'], ["foo; dry-run"], ['x="a, dry-run"']]
)
def test_a_dry_run_is_not_wanted(sent: list[str]):
    assert not wants_dry_run(headers(*(("Prefer", one) for one in sent)))


@pytest.mark.parametrize("value", ["false", "true", '"no"'])
def test_a_dry_run_has_no_value(value: str):
    """Whatever it means, taken for something else it would write."""
    with pytest.raises(ValidationError, match="Preference 'dry-run' in header 'Prefer' expects no"):
        wants_dry_run(headers(("Prefer", f"dry-run={value}")))


def test_the_first_of_two_preferences_counts():
    assert preferences(['A=1, a=2, b="x\\"y", c']) == {"a": "1", "b": 'x"y', "c": ""}

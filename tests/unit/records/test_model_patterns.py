"""Patterns that customers write: how large their programs may be, and how often one is compiled."""

from __future__ import annotations

import pytest

from records_service.attributes import patterns
from records_service.attributes.patterns import BadPattern, LargePattern, checked_size, compiled

STORED_BEFORE_THE_BOUND = r"(\pL\pM\pN){1,20}"


def test_a_pattern_is_compiled_once_for_its_text():
    assert compiled("^once-[0-9]+$") is compiled("^once-[0-9]+$")
    size = checked_size("^twice-[0-9]+$")
    assert compiled("^twice-[0-9]+$").programsize == size


def test_what_is_remembered_is_bounded_by_the_size_of_the_programs():
    first = compiled(r"a\pL{1,8}")
    for number in range(patterns.REMEMBERED_SIZE_MAX // first.programsize + 1):
        compiled(rf"b{number}\pL{{1,8}}")
    assert compiled(r"a\pL{1,8}") is not first


def test_a_pattern_that_was_stored_before_there_was_a_bound_still_matches():
    with pytest.raises(LargePattern):
        checked_size(STORED_BEFORE_THE_BOUND)
    assert compiled(STORED_BEFORE_THE_BOUND).search("aaa") is None


@pytest.mark.parametrize(
    ("pattern", "size"), [(r"\pL{1,10}", 11_973), (r"(\pL\pM\pN\pS\pP){1,90}", None)]
)
def test_a_program_has_a_size(pattern: str, size: int | None):
    with pytest.raises(LargePattern) as refused:
        checked_size(pattern)
    assert refused.value.size == size


def test_what_re2_does_not_take_is_told_in_its_words():
    with pytest.raises(BadPattern, match="missing "):
        checked_size("(")

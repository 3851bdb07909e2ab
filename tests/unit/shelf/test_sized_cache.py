"""What a bounded cache keeps."""

from __future__ import annotations

from shared.process.sized_cache import SizedCache


def cache(size_max: int = 100, count_max: int = 100) -> SizedCache[str, str]:
    return SizedCache(size_max, count_max, len)


def test_what_was_used_last_stays():
    kept = cache()
    for key in "abc":
        kept.keep(key, key * 30)
    assert kept.get("a") == "a" * 30
    kept.keep("d", "d" * 30)
    assert set(kept) == {"a", "c", "d"}
    assert kept.currsize == 90


def test_a_value_in_place_of_another_counts_instead_of_it():
    kept = cache()
    for size in (90, 10, 100, 40):
        kept.keep("a", "a" * size)
        assert kept.currsize == size
    kept.keep("b", "b" * 60)
    assert set(kept) == {"a", "b"}


def test_small_values_are_bounded_in_number():
    kept = cache(size_max=100, count_max=3)
    for key in "abcd":
        kept.keep(key, key)
    assert set(kept) == {"b", "c", "d"}
    assert kept.currsize == 99


def test_a_value_that_does_not_fit_replaces_nothing_but_the_older_one():
    kept = cache()
    kept.keep("a", "a" * 60)
    kept.keep("b", "b" * 40)
    kept.keep("a", "a" * 101)
    assert set(kept) == {"b"}

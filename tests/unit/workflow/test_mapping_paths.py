"""Target fields: which texts are paths, which of them exclude each other, and what stands there."""

from __future__ import annotations

from typing import Any

import pytest

from workflow_service.mapping import paths
from workflow_service.mapping.paths import ABSENT, UnusablePath


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("title", ("title",)),
        ("seo.title", ("seo", "title")),
        ("variants[0].price", ("variants", 0, "price")),
        ("a[1][99].b c", ("a", 1, 99, "b c")),
        ("variants[0].options.Shoe size (EU)", ("variants", 0, "options", "Shoe size (EU)")),
        ("pris-i-kr\u00f8ner", ("pris-i-kr\u00f8ner",)),
        ("a.b.c.d.e.f.g.h.i.j", tuple("abcdefghij")),
    ],
)
def test_a_path_has_names_and_indexes(text: str, steps: tuple[Any, ...]):
    assert paths.parse(text) == steps


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *((text, "expected a path such as") for text in ("", ".", "a.", ".a", "a..b", " a", "a ")),
        *((text, "expected a path such as") for text in ("[0]", "a[]", "a[x]", "a[-1]", "a[0]b")),
        *(
            (text, "expected a path such as")
            for text in ("a]", "a[0", "a\x00b", "a\nb", "a[00000]")
        ),
        ("a[100]", "expected indexes up to 99"),
        ("a.b.c.d.e.f.g.h.i.j.k", "expected at most 10 steps"),
    ],
)
def test_what_is_no_path_is_refused(text: str, reason: str):
    with pytest.raises(UnusablePath, match=reason):
        paths.parse(text)


@pytest.mark.parametrize(
    ("texts", "conflicts"),
    [
        (["a", "b", "c.d", "c.e", "f[0].g", "f[1].g"], []),
        (["a", "a"], [(1, 0)]),
        (["a", "a.b"], [(1, 0)]),
        (["a.b", "a"], [(1, 0)]),
        (["a.b", "a[0]"], [(1, 0)]),
        (["a[0]", "a.b"], [(1, 0)]),
        (["a[0]", "a[0].b"], [(1, 0)]),
        (["x", "a.b.c", "a.b", "x"], [(2, 1), (3, 0)]),
        (["a[1]", "a[10]"], []),
    ],
)
def test_paths_that_cannot_both_have_a_value_are_found(
    texts: list[str], conflicts: list[tuple[int, int]]
):
    assert list(paths.conflicts([paths.parse(each) for each in texts])) == conflicts


@pytest.mark.parametrize(
    ("put", "made"),
    [
        ({"a": 1}, {"a": 1}),
        ({"a.b": 1, "a.c": None}, {"a": {"b": 1, "c": None}}),
        ({"a[1].b": 1}, {"a": [None, {"b": 1}]}),
        ({"a[1].b": 1, "a[0].b": 2}, {"a": [{"b": 2}, {"b": 1}]}),
        ({"a[0][1]": 1}, {"a": [[None, 1]]}),
    ],
)
def test_values_are_put_where_paths_say(put: dict[str, Any], made: dict[str, Any]):
    target: dict[str, Any] = {}
    for text, value in put.items():
        paths.put(target, paths.parse(text), value)
    assert target == made
    assert {text: paths.get(made, paths.parse(text)) for text in put} == put


@pytest.mark.parametrize(
    "source",
    [{}, {"a": None}, {"a": []}, {"a": {}}, {"a": [{}]}, {"a": ["b"]}, {"a": "b"}, [], None, 5],
)
def test_nothing_is_at_a_path_that_an_object_does_not_have(source: Any):
    assert paths.get(source, paths.parse("a[0].b")) is ABSENT


def test_null_is_something():
    assert paths.get({"a": [{"b": None}]}, paths.parse("a[0].b")) is None

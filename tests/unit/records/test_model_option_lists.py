from __future__ import annotations

import time
from typing import Any

import pytest

from records_service.option_lists.hierarchy import check_flat, check_values, values_of
from records_service.option_lists.model import OptionValue, OptionValueDraft
from shared.errors import ValidationError


def value(alias: str, parent: str | None = None, **more: Any) -> OptionValue:
    given: dict[str, Any] = {"label": alias, "sort_order": 0, "color": None, "parent_id": parent}
    return OptionValue(**{"id": f"val-{alias}", "alias": alias, **given, **more})


def refusals(*values: OptionValue, hierarchical: bool = True) -> list[str]:
    with pytest.raises(ValidationError) as refused:
        check_values(values, hierarchical=hierarchical)
    return [violation.message for violation in refused.value.violations]


def drafts(*bodies: dict[str, Any]) -> list[OptionValueDraft]:
    return [OptionValueDraft.model_validate({"label": "x", **body}) for body in bodies]


def test_a_tree_is_sound():
    check_values(
        [value("shirts", "val-tops"), value("tops"), value("polos", "val-shirts")],
        hierarchical=True,
    )


def test_ids_and_aliases_differ():
    assert refusals(value("red"), value("blue", id="val-red"), value("red", id="val-2")) == [
        "Option value id 'val-red' is used twice",
        "Option value alias 'red' is used twice",
    ]


def test_a_flat_list_has_no_parents():
    told = "Option value 'shirts' has a parent, but the list is flat"
    assert refusals(value("tops"), value("shirts", "val-tops"), hierarchical=False) == [told]
    with pytest.raises(ValidationError, match=told):
        check_flat(value("shirts", "val-tops"), hierarchical=False)
    check_flat(value("shirts", "val-tops"), hierarchical=True)
    check_flat(value("shirts"), hierarchical=False)


def test_a_parent_is_in_the_list():
    assert refusals(value("shirts", "val-tops")) == [
        "Parent 'val-tops' of option value 'shirts' not found"
    ]


def test_nothing_is_its_own_parent():
    assert refusals(value("a", "val-a")) == ["Option value 'a' would be its own ancestor"]


def test_a_circle_is_told_once():
    assert refusals(value("a", "val-b"), value("b", "val-c"), value("c", "val-a")) == [
        "Option value 'a' would be its own ancestor"
    ]


def test_ten_thousand_values_in_one_line_are_checked_at_once():
    line = [value(str(n), f"val-{n - 1}" if n else None) for n in range(10_000)]
    began = time.process_time()
    check_values(line[::-1], hierarchical=True)
    assert time.process_time() - began < 1


def test_a_value_without_place_comes_after_the_one_before_it():
    values = values_of(
        drafts({"alias": "a"}, {"alias": "b", "sortOrder": 7.5}, {"alias": "c"}, {"alias": "d"})
    )
    assert [one.sort_order for one in values] == [0, 7.5, 8.5, 9.5]


def test_a_value_without_id_is_the_known_one_with_its_alias():
    new = values_of(drafts({"alias": "red"}, {"alias": "blue"}), [value("red")])
    assert new[0].id == "val-red"
    assert new[1].id.startswith("val-")
    assert new[1].id != "val-red"


def test_a_known_id_goes_to_the_value_that_is_sent_with_it():
    new = values_of(drafts({"alias": "red"}, {"id": "val-red", "alias": "crimson"}), [value("red")])
    assert new[1].id == "val-red"
    assert new[0].id != "val-red"


@pytest.mark.parametrize(
    ("place", "shown"), [(2.0, "2"), (2.5, "2.5"), (1e300, "1e+300"), (-3, "-3")]
)
def test_a_place_is_shown_as_json_writes_it_best(place: float, shown: str):
    assert repr(value("red", sort_order=place).to_public()["sortOrder"]) == shown


def test_what_a_value_has_not_is_null():
    assert value("red").to_public() == {
        "id": "val-red",
        "alias": "red",
        "label": "red",
        "sortOrder": 0,
        "color": None,
        "parentId": None,
        "labels": {},
        "externalKey": None,
    }
    assert value("red", "val-x", color="#f00").to_public() == {
        "id": "val-red",
        "alias": "red",
        "label": "red",
        "sortOrder": 0,
        "color": "#f00",
        "parentId": "val-x",
        "labels": {},
        "externalKey": None,
    }

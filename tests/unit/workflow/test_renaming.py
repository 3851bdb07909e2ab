from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records_service.workflow_copies.model import State as Judged
from workflow_service.definitions.model import ATTRIBUTES_MAX, State
from workflow_service.names.replacement import attribute_named


def named(
    state: dict[str, list[str]],
    *,
    is_new: bool = True,
    others: tuple[str, ...] = (),
    former: tuple[str, ...] = (),
) -> dict[str, list[str]]:
    """What the state says when `attr-x` gets the alias `x`."""
    (after,) = attribute_named(
        [State.model_validate({"id": "state-a", **state})],
        "x",
        "attr-x",
        others,
        former,
        is_new=is_new,
    )
    told = after.model_dump(by_alias=True)
    return {name: told[name] for name in ("hidden", "required", "readOnly") if told[name]}


@pytest.mark.parametrize("is_new", [True, False])
def test_each_list_holds_the_id_in_the_place_of_the_name(is_new: bool):
    for name in ("hidden", "required", "readOnly"):
        assert named({name: ["a", "x", "b"]}, is_new=is_new) == {name: ["a", "attr-x", "b"]}
        assert named({name: ["attr-x", "x"]}, is_new=is_new) == {name: ["attr-x"]}


def test_what_had_the_name_before_goes_on_being_named_by_it():
    assert named({"readOnly": ["x"]}, others=("attr-o",)) == {"readOnly": ["attr-x", "x"]}


def test_only_what_is_new_is_not_required_by_its_name_in_hidden():
    state = {"hidden": ["x"], "required": ["x"]}
    assert named(state) == {"hidden": ["attr-x"], "required": ["attr-x"]}
    assert named(state, is_new=False) == {"hidden": ["x"], "required": ["attr-x"]}
    by_old_name = {"hidden": ["x"], "required": ["once"]}
    assert named(by_old_name, is_new=False, former=("once",)) == by_old_name
    assert named(by_old_name, is_new=False) == {"hidden": ["attr-x"], "required": ["once"]}
    # What has the name as its id is meant by it.
    assert named(state, others=("x",)) == {"hidden": ["x"], "required": ["attr-x", "x"]}


def test_a_list_that_would_grow_too_long_stays_as_it_is():
    full = ["x", *(f"a{n}" for n in range(ATTRIBUTES_MAX - 1))]
    assert named({"required": full}, others=("attr-o",)) == {"required": full}
    assert named({"required": full})["required"][0] == "attr-x"


_NAMES = st.lists(st.sampled_from(["x", "attr-x", "once", "attr-o", "other"]), unique=True)


@given(st.fixed_dictionaries({"hidden": _NAMES, "required": _NAMES, "readOnly": _NAMES}))
def test_a_rename_takes_nothing_back(state: dict[str, Any]):
    """What was hidden, locked or required by an id, an alias or a former alias still is."""
    after = named(state, is_new=False, others=("attr-o",), former=("once",))
    for attribute_id, aliases in (("attr-x", {"x", "once"}), ("attr-o", {"o", "x"})):
        was, now = (
            _judged(Judged.parse({"id": "s", **told}), attribute_id, aliases)
            for told in (state, {"hidden": [], "required": [], "readOnly": [], **after})
        )
        assert now == was


def _judged(state: Judged, attribute_id: str, aliases: set[str]) -> tuple[bool, bool, bool]:
    """Hidden, required, locked, by the rule of docs/adr/0010."""
    called = {attribute_id, *aliases}
    return (
        not called.isdisjoint(state.hidden),
        not called.isdisjoint(state.required) and attribute_id not in state.hidden,
        not called.isdisjoint(state.read_only),
    )

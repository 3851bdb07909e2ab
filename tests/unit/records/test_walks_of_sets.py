"""Whether a page of a set is looked for along its order, or each of the set is looked up."""

from __future__ import annotations

import pytest

from records_service.search.sort_walk import ROWS_EACH, is_within_reach, is_worth_a_walk
from shared.database.paging import Key, Place

ROWS = 51
"""Of a page of fifty, and whether there are more."""


def place(offset: int = 0, after: tuple[object, ...] | None = None) -> Place:
    order = (Key("sort_0", str), Key("created_at", str), Key("id", str))
    return Place(
        order=order,
        offset=offset,
        limit=ROWS - 1,
        limit_is_asked=False,
        after=after,
        counts=True,
        query=b"",
    )


@pytest.mark.parametrize(
    ("matches", "records", "is_walked"),
    [
        # A walk to 51 of 2,400 among a million looks at some 21,000 rows, of 30,000 at most.
        (2_400, 1_000_000, True),
        # It would look at 34,000, and to look up 1,500 costs as much as 22,500.
        (1_500, 1_000_000, False),
        (1_500, 300_000, True),
        (15_000, 8_000_000, True),
        (15_000, 10_000_000, False),
    ],
)
def test_a_walk_is_tried_where_it_is_expected_to_end(matches: int, records: int, is_walked: bool):
    assert is_within_reach(place(), matches, records) is is_walked


def test_a_page_far_behind_is_not_walked_to():
    assert is_within_reach(place(), 2_000, 400_000)
    assert not is_within_reach(place(offset=400), 2_000, 400_000)
    assert is_within_reach(place(after=("a", "", "")), 2_000, 400_000)


def test_a_walk_is_worth_it_for_some_thousand():
    assert is_worth_a_walk(place(), 1_000)
    assert not is_worth_a_walk(place(), 999)
    assert is_worth_a_walk(place(), 20_000)
    assert not is_worth_a_walk(place(), 20_001)
    assert not is_worth_a_walk(place(offset=500), 2_000)
    assert not is_worth_a_walk(place(after=(None, "", "")), 2_000)


def test_what_it_looks_at_costs_no_more_than_looking_up():
    assert is_within_reach(place(), 1_000, ROWS_EACH * 1_000 * 1_000 // ROWS)
    assert not is_within_reach(place(), 1_000, ROWS_EACH * 1_000 * 1_000 // ROWS + 1_000)

"""What is written into a cursor is read from it, and nothing else is one."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from shared.database.paging import planned_rows
from shared.http.cursors import CURSOR_MAX, NotACursor, decode, encode

QUERY = b"a query"
POSITION = (datetime(2026, 2, 3, 4, 5, 6, 789_012, tzinfo=UTC), "a b", 2**62, 0.5, True, None)
KINDS = (datetime, str, int, float, bool, str)


def test_a_position_is_kept_to_the_microsecond():
    assert decode(QUERY, encode(QUERY, 7, POSITION), KINDS) == (7, POSITION)
    numbers = (Decimal("12345678901234567890.5"), datetime(1900, 1, 1, tzinfo=UTC))
    assert decode(QUERY, encode(QUERY, 0, numbers), (Decimal, datetime)) == (0, numbers)


def test_every_change_of_a_cursor_is_noticed():
    cursor = encode(QUERY, 7, POSITION)
    assert len(cursor) < CURSOR_MAX
    for at in range(len(cursor)):
        for letter in "A-z=\u00e9":
            if cursor[at] != letter:
                with pytest.raises(NotACursor):
                    decode(QUERY, cursor[:at] + letter + cursor[at + 1 :], KINDS)
        with pytest.raises(NotACursor):
            decode(QUERY, cursor[:at], KINDS)
    with pytest.raises(NotACursor):
        decode(b"another query", cursor, KINDS)
    with pytest.raises(NotACursor):
        decode(QUERY, "A" * (CURSOR_MAX + 1), KINDS)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (datetime, "2026"),
        (datetime, 2**62),
        (str, 1),
        (str, "\x00"),
        (int, True),
        (int, 2**63),
        (float, "1"),
        (Decimal, "NaN"),
        (Decimal, "x"),
        (bool, 1),
    ],
)
def test_a_position_that_no_column_has_is_refused(kind, value):
    with pytest.raises(NotACursor):
        decode(QUERY, encode(QUERY, 0, [value]), [kind])


def test_the_expected_rows_of_a_plan_are_those_of_the_node_that_has_them():
    local = [{"Plan": {"Node Type": "Seq Scan", "Plan Rows": 12}}]
    assert planned_rows(local) == 12
    on_citus = [
        {
            "Plan": {
                "Node Type": "Custom Scan",
                "Plan Rows": 0,
                "Distributed Query": {
                    "Job": {"Task Count": 1, "Tasks": [{"Node": "a", "Remote Plan": [local]}]}
                },
            }
        }
    ]
    assert planned_rows(on_citus) == 12

"""The state of a record whose schema has just got another workflow.

The schema has its new workflow at once; its records are moved to their new states in the
background, in slices. Until a record's turn has come, another state than its new one is stored.
What decides its state meanwhile is a table of the schema: stored state -> state.

No record enters a state that is stored for another one: nobody could tell the two apart. So each
record is in one state, whether or not it was moved already, and reading the table twice does no
harm (docs/adr/0053).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, TypeAlias

import orjson

StateMoves: TypeAlias = Mapping[str, str | None]
"""Stored state -> the state that the record is in; an empty text and None stand for no state."""

NO_MOVES: Final[StateMoves] = {}


def moves_to(
    stored: Collection[str], before: StateMoves, known: Collection[str], default: str | None
) -> dict[str, str | None]:
    """The moves to a workflow that knows these states; all others go to its default state.

    `stored` are the states that records may have, `before` the moves that are not finished yet.
    """
    moves: dict[str, str | None] = {}
    for state in {"", *stored, *before}:
        unmoved = state or None
        now = before.get(state, unmoved)
        to = now if now in known else default
        if to != unmoved:
            moves[state] = to
    return moves


def is_ambiguous(moves: StateMoves, default: str | None) -> bool:
    """Whether a state that records now get, or begin in, is stored for another one."""
    return any((state or "") in moves for state in (default, *moves.values()))


def moved_to(moves: StateMoves, state_id: str | None) -> str | None:
    """The state of a record with this stored state."""
    return moves.get(state_id or "", state_id)


def state_in_sql(row: str, argument: str) -> str:
    """The state of a record as an expression over its row, while there are moves.

    `row` is the prefix of its columns (`r.` or nothing), `argument` has what `moves_as_json` makes.
    """
    of_schema = f"({argument}::jsonb -> {row}schema_id)"
    stored = f"coalesce({row}state_id, '')"
    return (
        f"(CASE WHEN {of_schema} ? {stored} THEN {of_schema} ->> {stored} ELSE {row}state_id END)"
    )


def moves_as_json(moves: Mapping[str, StateMoves]) -> str:
    """Schema -> its moves, as text: the argument of `state_in_sql`."""
    return orjson.dumps({schema_id: dict(each) for schema_id, each in moves.items()}).decode()

"""Which run of an export job gives way."""

from __future__ import annotations

from workflow_service.export_runs.turns import LASTING, PLACES, TURN_S, Turn, to_give_way

NOW = 10_000.0


def turn(workspace_id: str, lasted_s: float) -> Turn:
    return Turn(workspace_id, NOW - lasted_s)


def test_nobody_gives_way_within_their_turn():
    assert to_give_way([turn(f"ws-{n}", TURN_S - 1) for n in range(PLACES)], NOW) is None


def test_the_oldest_of_some_workspaces_may_go_on():
    assert to_give_way([turn(f"ws-{n}", TURN_S + n) for n in range(LASTING)], NOW) is None


def test_there_are_always_places_for_those_who_come():
    under_way = [turn(f"ws-{n}", TURN_S + n) for n in range(PLACES)]
    gone = []
    while (each := to_give_way(under_way, NOW)) is not None:
        under_way.remove(each)
        gone.append(each.workspace_id)
    assert len(under_way) == LASTING < PLACES
    assert gone == [f"ws-{n}" for n in range(PLACES - LASTING)]


def test_a_workspace_goes_on_with_one_run():
    first, second = turn("ws-1", TURN_S + 9), turn("ws-1", TURN_S + 8)
    assert to_give_way([second, turn("ws-2", TURN_S), first], NOW) is second
    assert to_give_way([turn("ws-2", TURN_S), first], NOW) is None

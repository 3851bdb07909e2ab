"""The state of a record whose schema got another workflow, perhaps more than one."""

from __future__ import annotations

from records_service.workflow_copies.moves import is_ambiguous, moves_to


def test_moves_are_composed():
    first = moves_to(["draft", "review"], {}, {"start", "review"}, "start")
    assert first == {"": "start", "draft": "start"}
    then = moves_to(["start", "review"], first, {"begin"}, "begin")
    assert then == dict.fromkeys(["", "draft", "start", "review"], "begin")
    back = moves_to(["start", "review"], first, {"draft", "review"}, "draft")
    assert back == {"": "draft", "start": "draft"}
    none = moves_to(["start", "review"], first, set(), None)
    assert none == {"draft": None, "start": None, "review": None}
    assert not is_ambiguous(first, "start")
    assert not is_ambiguous(then, "begin")
    assert not is_ambiguous(back, "draft")
    assert not is_ambiguous(none, None)
    assert is_ambiguous(moves_to(["start"], first, {"draft", "start"}, "draft"), "draft")

"""Deliveries of one record are sent one after the other, and hold up nobody else."""

from __future__ import annotations

from workflow_service.dispatch.ordering import Queue, Waiting


def queue(*named: str) -> tuple[Queue, dict[str, Waiting]]:
    """A queue of deliveries named `a1` for the first of record a, and so on."""
    made = Queue()
    known = {name: Waiting(name, name[0], 0, 0.0) for name in named}
    for one in known.values():
        made.add(one)
    return made, known


def taken(of: Queue, now: float = 1.0) -> list[str]:
    found = []
    while (one := of.take(now)) is not None:
        found.append(one.id)
    return found


def test_the_first_of_each_record_can_be_sent_and_the_next_when_it_has_ended():
    made, known = queue("a1", "a2", "b1", "a3", "b2")
    assert taken(made) == ["a1", "b1"]
    made.end(known["a1"])
    assert taken(made) == ["a2"]
    made.end(known["a2"])
    made.end(known["b1"])
    assert taken(made) == ["a3", "b2"]
    for name in ("a3", "b2"):
        made.end(known[name])
    assert (len(made), made.next_due) == (0, None)


def test_a_failed_one_holds_up_its_record_until_it_is_due():
    made, known = queue("a1", "a2", "b1")
    assert taken(made) == ["a1", "b1"]
    made.put_off(known["a1"], 11.0)
    made.end(known["b1"])
    assert (taken(made, 10.9), made.next_due, known["a1"].tries) == ([], 11.0, 1)
    assert taken(made, 11.0) == ["a1"]
    made.end(known["a1"])
    assert taken(made, 11.0) == ["a2"]


def test_what_is_not_wanted_any_more_makes_way_but_not_what_is_being_sent():
    made, known = queue("a1", "a2", "a3", "b1", "b2")
    assert made.take(1.0) is known["a1"]
    made.keep({"a3"})
    assert ("a2" in made, "b1" in made, len(made)) == (False, False, 2)
    assert taken(made) == []
    made.end(known["a1"])
    assert taken(made) == ["a3"]


def test_what_is_moved_is_due_then():
    made, known = queue("a1", "b1")
    assert taken(made) == ["a1", "b1"]
    made.put_off(known["a1"], 300.0)
    made.move("a1", 1, 2.0)
    made.move("b1", 0, 9.0)
    assert taken(made, 2.0) == ["a1"]
    assert taken(made, 300.0) == []


def test_one_that_could_not_be_sent_is_next_again():
    made, known = queue("a1", "a2")
    one = made.take(1.0)
    assert one is known["a1"]
    made.give_back(one)
    assert taken(made) == ["a1"]

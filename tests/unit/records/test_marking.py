"""What a bulk call notes of the first values of attributes and segments."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from records_service.value_uses.model import Use
from records_service.writes.marking import Unmarked

EN, DA = ({"dim-language": f"seg-{each}"} for each in ("en", "da"))


class Looked(list[Any]):
    """Entries that count how often they are gone through."""

    times = 0

    def __iter__(self) -> Iterator[Any]:
        self.times += 1
        return super().__iter__()


def schema(**dimension_ids: tuple[str, ...]) -> Any:
    attributes = {i: SimpleNamespace(id=i, dimension_ids=ids) for i, ids in dimension_ids.items()}
    return SimpleNamespace(derived={}, attributes=attributes)


def test_each_use_has_its_first_holder():
    made = schema(sku=(), name=("dim-language",))
    found = Unmarked()
    found.add(made, "records", "ent-1", {"sku": [{"scope": {}}], "name": [{"scope": EN}]})
    found.add(made, "records", "ent-2", {"name": [{"scope": EN}, {"scope": DA}]})
    found.add(made, "variants", "var-3", {"sku": [{"scope": {}}]})
    assert found.holders == {
        Use("records", "sku"): "ent-1",
        Use("records", "name"): "ent-1",
        Use("records", "name", "dim-language", "seg-en"): "ent-1",
        Use("records", "name", "dim-language", "seg-da"): "ent-2",
        Use("variants", "sku"): "var-3",
    }


def test_what_the_call_has_noted_is_not_gone_through_again():
    made, found = schema(sku=()), Unmarked()
    first, second = Looked([{"scope": {}}]), Looked([{"scope": {}}])
    found.add(made, "records", "ent-1", {"sku": first})
    found.add(made, "records", "ent-2", {"sku": second})
    assert (first.times > 0, second.times) == (True, 0)


def test_what_is_learnt_is_known_to_the_next_call():
    made, found = schema(name=("dim-language",)), Unmarked()
    found.add(made, "records", "ent-1", {"name": [{"scope": EN}]})
    found.learn()
    later = Unmarked()
    later.add(made, "records", "ent-2", {"name": [{"scope": EN}]})
    assert later.holders == {}
    later.add(made, "records", "ent-2", {"name": [{"scope": DA}]})
    assert Use("records", "name", "dim-language", "seg-da") in later.holders

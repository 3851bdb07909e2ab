"""Whatever a rolling restart breaks turns the report red."""

from __future__ import annotations

from dataclasses import replace

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from tests.kit.sigma import Answer
from tests.rolling.consumer import Heard
from tests.rolling.fleet import Stop
from tests.rolling.ledger import Item, Ledger
from tests.rolling.load import Sample
from tests.rolling.report import Report

HEARD = Heard(expected=3, lost=[], doubled=[], late=[], redelivered=1)
SAMPLE = Sample("gateway", "read_record", keep_alive=True, seconds=0.01, problem="")
GOOD = Report(
    samples=[SAMPLE, replace(SAMPLE, seconds=0.02)],
    writes=3,
    lost_writes=[],
    heard=HEARD,
    stops=[Stop("gateway-1", 5.2, 0)],
    drain_s=5,
    unanswered=0,
    latest_s=4.5,
)


def test_a_run_in_which_nothing_failed_is_green():
    assert GOOD.good
    assert GOOD.lines()[-1] == "green"
    assert any("delivered again with the same id: 1" in line for line in GOOD.lines())


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"samples": [SAMPLE, replace(SAMPLE, problem="503 {}")]}, "1 x read_record (kept"),
        ({"samples": []}, "requests             0"),
        ({"lost_writes": ["record ent-1"]}, "record ent-1"),
        ({"heard": replace(HEARD, lost=["ent-1 version 2"])}, "ent-1 version 2"),
        ({"heard": replace(HEARD, doubled=["ent-1 twice"])}, "ent-1 twice"),
        ({"heard": replace(HEARD, late=["ent-1 late"])}, "ent-1 late"),
        ({"stops": [Stop("gateway-1", 5.2, -9)]}, "gateway-1: exit code -9"),
        ({"stops": [Stop("gateway-1", 30.1, 0)]}, "gateway-1: exit code 0, 30.1 s"),
        ({"complaints": ["the old key is accepted"]}, "wrong: the old key is accepted"),
    ],
)
def test_whatever_went_wrong_is_shown_and_red(change, shown):
    report = replace(GOOD, **change)
    assert not report.good
    assert report.lines()[-1] == "RED"
    assert any(shown in line for line in report.lines())


def test_a_version_is_read_from_the_etag():
    item = Item("/records/ent-1", ("name 1", "state-draft"))
    item.acknowledged(("name 2", "state-draft"), '"7"')
    assert (item.id, item.content, item.version) == ("ent-1", ("name 2", "state-draft"), 7)


class Reader:
    """Answers as the API does after two records and a role were written."""

    def __init__(self, **names: str) -> None:
        self._names = names

    async def get(self, path: str) -> Answer:
        if path.startswith("/roles/"):
            return Answer(200, {"name": "role 5"}, CIMultiDictProxy(CIMultiDict()))
        items = [
            {
                "id": record_id,
                "values": {"name": [{"scope": {}, "value": name}]},
                "lifecycleStateId": "state-draft",
            }
            for record_id, name in self._names.items()
        ]
        return Answer(200, {"total": len(items), "items": items}, CIMultiDictProxy(CIMultiDict()))


def written() -> Ledger:
    ledger = Ledger()
    for record_id in ("one", "two"):
        ledger.add_record(Item(f"/records/{record_id}", ("name 3", "state-draft")))
    # Nobody said what became of this write, so either content is right.
    ledger.records["two"].perhaps.append(("name 4", "state-draft"))
    ledger.others.append(Item("/roles/role-shop", "role 5"))
    return ledger


@pytest.mark.parametrize("two", ["name 3", "name 4"])
async def test_what_was_acknowledged_is_there(two):
    assert await written().lost(Reader(one="name 3", two=two)) == []


async def test_what_was_acknowledged_and_is_gone_or_older_is_lost():
    lost = await written().lost(Reader(one="name 2", two="name 3"))
    assert [line.partition(":")[0] for line in lost] == ["record one"]
    lost = await written().lost(Reader(two="name 4"))
    assert lost == ["record one: ('name 3', 'state-draft') was acknowledged, found None"]

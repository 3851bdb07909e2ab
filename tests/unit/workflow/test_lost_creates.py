"""Creates whose answer was lost are known again by what was sent, however many there are."""

from __future__ import annotations

from typing import Any

import pytest

from workflow_service.mapping import mapping as mapping_module
from workflow_service.mapping.fingerprints import fingerprint
from workflow_service.mapping.mapping import ChannelMapping, Field
from workflow_service.mapping.paths import parse
from workflow_service.sync_runs.model import Known
from workflow_service.sync_runs.pushing import LostCreates

KEY = b"k" * 32
MAPPING = ChannelMapping(
    [Field(f"attr-{each}", each, parse(each)) for each in ("title", "code", "variants[0].price")],
    KEY,
)


def lost(entity_id: str, **sent: Any) -> Known:
    fingerprints = {name: fingerprint(KEY, value) for name, value in sent.items()}
    return Known(entity_id, None, "key", fingerprints)


def test_an_object_is_the_create_whose_fields_it_has():
    creates = LostCreates(
        MAPPING,
        [
            lost("ent-1", title="Hat", code=1),
            lost("ent-2", title="Hat"),
            lost("ent-3", title="Hat"),
        ],
    )
    assert creates.take({"title": "Hat", "code": 2}) == "ent-2"
    assert creates.take({"title": "Hat", "code": 1.0, "id": "7"}) == "ent-1"
    assert creates.take({"title": "Cap"}) is None
    assert creates.take({"title": [["\x00"]]}) is None
    assert creates.some
    assert creates.take({"title": "Hat"}) == "ent-3"
    assert not creates.some


def test_what_has_fields_of_variants_alone_cannot_be_known_again():
    assert not LostCreates(MAPPING, [lost("ent-1", **{"variants[0].price": 5})]).some


def test_an_object_is_hashed_once_for_all_creates(monkeypatch: pytest.MonkeyPatch):
    creates = LostCreates(MAPPING, [lost(f"ent-{n}", title=f"Hat {n}", code=n) for n in range(500)])
    hashed = 0

    def counted(key: bytes, value: Any) -> str:
        nonlocal hashed
        hashed += 1
        return fingerprint(key, value)

    monkeypatch.setattr(mapping_module, "fingerprint", counted)
    assert creates.take({"title": "Hat 499", "code": 499}) == "ent-499"
    assert hashed == 2

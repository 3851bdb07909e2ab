from __future__ import annotations

from typing import Any

import pytest

from records_service.dimensions.model import DimensionDraft
from records_service.dimensions.segments import body_of, removed, scope_matrix
from shared.errors import ValidationError
from tests.unit.records.model_builders import a_dimension


def draft(*segments: dict[str, Any], **more: Any) -> DimensionDraft:
    return DimensionDraft.model_validate(
        {"alias": "language", "name": "Language", "segments": list(segments), **more}
    )


def segment(word: str, **more: Any) -> dict[str, Any]:
    return {"id": f"seg-{word}", "alias": word, "name": word, **more}


def refusal(*arguments: Any) -> str:
    with pytest.raises(ValidationError) as refused:
        body_of(*arguments)
    return refused.value.message


def test_the_default_segment_is_marked_on_the_segments():
    body = body_of(draft(segment("en"), segment("da"), defaultSegmentId="seg-da"))
    assert body["defaultSegmentId"] == "seg-da"
    assert [one["isDefault"] for one in body["segments"]] == [False, True]


def test_a_mark_alone_names_the_default():
    body = body_of(draft(segment("en"), segment("da", isDefault=True)))
    assert body["defaultSegmentId"] == "seg-da"


def test_a_mark_that_agrees_does_no_harm():
    body = body_of(draft(segment("en", isDefault=True), defaultSegmentId="seg-en"))
    assert body["defaultSegmentId"] == "seg-en"


def test_the_default_may_be_named_by_alias():
    body = body_of(draft(segment("en"), segment("da"), defaultSegmentId="da"))
    assert body["defaultSegmentId"] == "seg-da"


def test_id_and_mark_that_disagree_are_refused():
    told = refusal(draft(segment("en"), segment("da", isDefault=True), defaultSegmentId="seg-en"))
    assert told == "Field 'defaultSegmentId' is 'seg-en', but 'isDefault' marks 'seg-da'"


def test_two_marks_are_refused():
    told = refusal(draft(segment("en", isDefault=True), segment("da", isDefault=True)))
    assert told == "Only one segment can be the default, 'isDefault' marks 2"


def test_no_default_is_refused():
    assert refusal(draft(segment("en"))) == "Field 'defaultSegmentId' is required"


def test_a_default_that_is_no_segment_is_refused():
    told = refusal(draft(segment("en"), defaultSegmentId="seg-fr"))
    assert told == "Field 'defaultSegmentId' must be one of the segments, got 'seg-fr'"


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (segment("en", alias="da"), "Segment id 'seg-en' is used twice"),
        (segment("en", id="seg-da"), "Segment alias 'en' is used twice"),
    ],
)
def test_segments_differ_in_id_and_alias(second: dict[str, Any], message: str):
    assert refusal(draft(segment("en"), second, defaultSegmentId="seg-en")) == message


def test_a_segment_without_id_gets_one():
    body = body_of(draft({"alias": "en", "name": "English"}, defaultSegmentId="en"))
    assert body["segments"][0]["id"].startswith("seg-")
    assert body["defaultSegmentId"] == body["segments"][0]["id"]


def test_a_segment_sent_back_without_id_keeps_the_one_it_had():
    old = body_of(draft(segment("en"), defaultSegmentId="seg-en"))
    new = body_of(draft({"alias": "en", "name": "English"}, defaultSegmentId="en"), old)
    assert new["segments"] == [
        {"id": "seg-en", "alias": "en", "name": "English", "isDefault": True}
    ]
    assert removed(old, new) == []


def test_an_id_that_is_sent_for_another_segment_is_not_handed_out_twice():
    old = body_of(draft(segment("en"), defaultSegmentId="seg-en"))
    sent = draft(
        {"alias": "en", "name": "English"},
        segment("en", alias="en-gb"),
        defaultSegmentId="seg-en",
    )
    new = body_of(sent, old)
    assert new["segments"][0]["id"] != "seg-en"
    assert new["segments"][1]["id"] == "seg-en"


def test_segments_that_are_left_out_are_removed():
    old = body_of(draft(segment("en"), segment("da"), defaultSegmentId="seg-en"))
    new = body_of(draft(segment("en"), defaultSegmentId="seg-en"), old)
    assert removed(old, new) == ["seg-da"]


def test_the_matrix_of_nothing_is_one_empty_scope():
    assert scope_matrix([]) == [{}]


def test_the_matrix_combines_every_segment_with_every_other():
    assert scope_matrix([a_dimension("dim-l", "en", "da"), a_dimension("dim-m", "dk", "se")]) == [
        {"dim-l": "seg-en", "dim-m": "seg-dk"},
        {"dim-l": "seg-en", "dim-m": "seg-se"},
        {"dim-l": "seg-da", "dim-m": "seg-dk"},
        {"dim-l": "seg-da", "dim-m": "seg-se"},
    ]


def test_a_matrix_of_more_than_ten_thousand_scopes_is_refused():
    hundred = [str(number) for number in range(100)]
    dimensions = [a_dimension("dim-a", *hundred), a_dimension("dim-b", *hundred)]
    assert len(scope_matrix(dimensions)) == 10_000
    with pytest.raises(ValidationError, match="would have 20000 scopes, at most 10000"):
        scope_matrix([*dimensions, a_dimension("dim-c", "one", "two")])

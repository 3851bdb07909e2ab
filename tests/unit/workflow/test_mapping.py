"""Mappings: a record as an object of the target, and what an object has that a record has not."""

from __future__ import annotations

from typing import Any

import pytest

from workflow_service.connectors.model import Pulled
from workflow_service.mapping.mapping import ChannelMapping, Field, Source, Unmappable
from workflow_service.mapping.paths import parse
from workflow_service.sync_runs.model import Known
from workflow_service.sync_runs.pulling import planned
from workflow_service.sync_runs.pushing import planned as planned_push

KEY = b"k" * 32
PRICE = "variants[0].price"
COLOURS = {
    "attr-color": {
        "val-1": {"label": "R\u00f8d", "alias": "red"},
        "val-2": {"label": "Bl\u00e5", "alias": "blue"},
    }
}


def mapping(*targets: str, **more: Any) -> ChannelMapping:
    """Each target has the attribute with its last name."""
    return ChannelMapping(
        [Field(f"attr-{parse(each)[-1]}", each, parse(each), **more) for each in targets], KEY
    )


def source(variants: dict[str, Any] | None = None, **values: Any) -> Source:
    """A record; variant id -> price."""
    return Source(
        "ent-1",
        {f"attr-{name}": value for name, value in values.items()},
        [(each, {"attr-price": price}) for each, price in (variants or {}).items()],
        COLOURS,
    )


TITLE_AND_PRICE = mapping("title", PRICE)


@pytest.mark.parametrize(
    ("record", "sent", "expected"),
    [
        (source(title="Hat", price=5), (), {"title": "Hat", "variants": [{"price": 5}]}),
        (source(title="Hat", price=None), (), {"title": "Hat"}),
        (
            source(title="Hat", price=None),
            (PRICE,),
            {"title": "Hat", "variants": [{"price": None}]},
        ),
        (source(price=5), (), {"variants": [{"price": 5}]}),
        (
            source({"var-1": 6, "var-2": 7}, title="Hat", price=5),
            (),
            {"title": "Hat", "variants": [{"price": 6}, {"price": 7}]},
        ),
        (
            source({"var-1": None, "var-2": 7}, title="Hat", price=5),
            (),
            {"title": "Hat", "variants": [None, {"price": 7}]},
        ),
        (
            source({"var-1": None, "var-2": 7}, title="Hat", price=5),
            (PRICE,),
            {"title": "Hat", "variants": [{"price": None}, {"price": 7}]},
        ),
    ],
)
def test_a_record_becomes_an_object(
    record: Source, sent: tuple[str, ...], expected: dict[str, Any]
):
    mapped = TITLE_AND_PRICE.mapped(record)
    assert TITLE_AND_PRICE.to_send(mapped, dict.fromkeys(sent, "x")) == expected


@pytest.mark.parametrize(
    ("option_as", "value", "expected"),
    [
        ("label", "val-1", "R\u00f8d"),
        ("alias", "val-1", "red"),
        ("id", "val-1", "val-1"),
        ("label", ["val-2", "val-1"], ["Bl\u00e5", "R\u00f8d"]),
        ("label", "val-gone", "val-gone"),
        ("label", None, None),
        ("label", 5, 5),
    ],
)
def test_an_option_is_called_as_the_mapping_says(option_as: str, value: Any, expected: Any):
    of_color = mapping("color", option_as=option_as)
    assert of_color.mapped(source(color=value)).values == {"color": expected}


def test_the_options_of_variants_are_called_so_too_and_transformed_then():
    of_color = mapping("variants[0].color", transform="uppercase")
    variants = [("var-1", {"attr-color": "val-1"}), ("var-2", {"attr-color": "val-2"})]
    mapped = of_color.mapped(Source("ent-1", {}, variants, COLOURS))
    assert mapped.values == {"variants[0].color": ["R\u00d8D", "BL\u00c5"]}


def test_what_cannot_be_transformed_is_told_without_its_value():
    with pytest.raises(Unmappable) as refused:
        mapping("price", transform="number").mapped(source(price="Very Secret Price"))
    assert "Very Secret Price" not in str(refused.value)
    assert "Transform 'number' for 'price'" in str(refused.value)


def test_what_is_hidden_is_neither_sent_nor_emptied_nor_a_change():
    of_all = source(title="Hat", price=5)
    sent = TITLE_AND_PRICE.fingerprints(TITLE_AND_PRICE.mapped(of_all))
    seen_by_seller = TITLE_AND_PRICE.mapped(source(title="Hat"))
    assert not TITLE_AND_PRICE.differs(seen_by_seller, sent)
    assert TITLE_AND_PRICE.to_send(seen_by_seller, sent) == {"title": "Hat"}
    assert TITLE_AND_PRICE.sent_after(seen_by_seller, sent) == sent


@pytest.mark.parametrize(
    ("before", "after", "differs"),
    [
        (source(title="Hat", price=5), source(title="Hat", price=5.0), False),
        (source(title="Hat", price=5), source(title="Cap", price=5), True),
        (source(title="Hat", price=5), source(title="Hat", price=None), True),
        (source({"var-1": 5}, title="Hat"), source({"var-1": 5}, title="Hat"), False),
        (source({"var-1": 5}, title="Hat"), source({"var-2": 5}, title="Hat"), True),
        (source({"var-1": 5}, title="Hat"), source(title="Hat", price=5), True),
        (source({"a": 5, "b": 5}, title="Hat"), source({"b": 5, "a": 5}, title="Hat"), True),
    ],
)
def test_a_change_is_known_by_fingerprints(before: Source, after: Source, differs: bool):
    sent = TITLE_AND_PRICE.fingerprints(TITLE_AND_PRICE.mapped(before))
    assert TITLE_AND_PRICE.differs(TITLE_AND_PRICE.mapped(after), sent) is differs


def known(record: Source, variants: dict[str, str] | None = None) -> Known:
    """What is known of a record that was pushed."""
    mapped = TITLE_AND_PRICE.mapped(record)
    return Known(
        "ent-1",
        "7",
        None,
        TITLE_AND_PRICE.fingerprints(mapped),
        TITLE_AND_PRICE.seen_after(mapped, None),
        None,
        variants or {},
    )


HAT = source(title="Hat", price=5)
HATS = source({"var-1": 6, "var-2": 7}, title="Hat", price=5)
ONE_HAT = source({"var-1": 6}, title="Hat", price=5)


@pytest.mark.parametrize(
    ("record", "has", "values", "own", "left"),
    [
        # A record without variants: the only variant of the object is the record itself.
        (HAT, {"title": "Hat", "variants": [{"price": 5.0}]}, {}, {}, ()),
        (HAT, {"title": "Cap", "variants": [{"price": 5}]}, {"attr-title": "Cap"}, {}, ()),
        (HAT, {"title": "Hat", "variants": [{"price": "5.50"}]}, {}, {"attr-price": "5.50"}, ()),
        (HAT, {"title": "Hat", "variants": [{"price": None}]}, {}, {"attr-price": None}, ()),
        (HAT, {"title": "Hat", "variants": []}, {}, {}, ()),
        (HAT, {"title": None}, {"attr-title": None}, {}, ()),
        (HAT, {}, {}, {}, ()),
        # An object with several: nobody knows whose their values are.
        (HAT, {"title": "Hat", "variants": [{"price": 5}, {"price": 9}]}, {}, {}, (PRICE,)),
        (HATS, {"title": "Hat", "variants": [{"price": 6}, {"price": 7}]}, {}, {}, ()),
        (HATS, {"title": "Hat", "variants": [{"price": "6.00"}, {"price": "7.0"}]}, {}, {}, ()),
        (HATS, {"title": "Hat", "variants": [{"price": 7}, {"price": 6}]}, {}, {}, (PRICE,)),
        (HATS, {"title": "Hat", "variants": [{"price": 6}, {"price": 9}]}, {}, {}, (PRICE,)),
        (
            HATS,
            {"title": "Cap", "variants": [{"price": 9}, {}, {"price": 3}]},
            {"attr-title": "Cap"},
            {},
            (PRICE,),
        ),
        # One variant of each: records_service leaves it out, which knows whether there are any.
        (ONE_HAT, {"title": "Hat", "variants": [{"price": "6.00"}]}, {}, {}, ()),
        (ONE_HAT, {"title": "Hat", "variants": [{"price": 9}]}, {}, {"attr-price": 9}, ()),
        (HATS, {"title": "Hat", "variants": [{"price": 9}]}, {}, {"attr-price": 9}, ()),
    ],
)
@pytest.mark.parametrize("variants", [{}, {"var-1": "gid-1"}], ids=["without-ids", "with-ids"])
def test_a_field_of_variants_never_lands_on_a_record_with_variants(
    record: Source,
    has: dict[str, Any],
    values: dict[str, Any],
    own: dict[str, Any],
    left: tuple[str, ...],
    variants: dict[str, str],
):
    plan = planned(TITLE_AND_PRICE, [Pulled("7", has)], {"7": known(record, variants)})
    row = plan.rows.get("ent-1")
    assert ((row.values, row.own) if row else ({}, {})) == (values, own)
    changed = plan.changed.get("ent-1")
    assert tuple(changed.of_several if changed else ()) == left
    assert plan.unchanged == ([] if values or own or left else ["ent-1"])
    assert plan.told == (["ent-1"] if left and not values and not own else [])


def test_what_was_left_out_is_told_once():
    pushed = known(HATS)
    objects = [
        Pulled("7", {"title": "Hat", "variants": [{"price": 6}, {"price": 9}]}),
        Pulled("7", {"title": "Hat", "variants": [{"price": 9}]}),
    ]
    for item in objects:
        changed = planned(TITLE_AND_PRICE, [item], {"7": pushed}).changed["ent-1"]
        seen = {**(pushed.seen or {}), **TITLE_AND_PRICE.shown_by(changed, changed.own)}
        again = Known("ent-1", "7", None, pushed.sent, seen)
        assert planned(TITLE_AND_PRICE, [item], {"7": again}).unchanged == ["ent-1"]


def test_a_new_object_with_several_variants_becomes_a_record_without_their_fields():
    several = {"variants": [{"price": 1}, {"price": 2}]}
    plan = planned(TITLE_AND_PRICE, [Pulled("7", {"title": "New"} | several)], {})
    (row,) = plan.rows.values()
    assert (row.values, row.own, row.whole) == ({"attr-title": "New"}, {}, None)
    nothing = planned(TITLE_AND_PRICE, [Pulled("7", several)], {})
    assert (nothing.rows, nothing.ignored) == ({}, 1)
    (told,) = nothing.failures
    assert told.message == (
        "Not brought in: 'variants[0].price'. Which variants of the record the object's variants"
        " are, is not known"
    )


def test_indexes_that_are_named_stand_for_themselves():
    of_places = mapping("variants[0].price", "variants[1].cost")
    mapped = of_places.mapped(source({"var-1": 6}, price=5, cost=3))
    assert of_places.to_send(mapped, {}) == {"variants": [{"price": 5}, {"cost": 3}]}
    has = {"variants": [{"price": 1}, {"cost": 2}]}
    plan = planned(of_places, [Pulled("7", has)], {})
    (row,) = plan.rows.values()
    assert (row.values, row.own) == ({"attr-price": 1, "attr-cost": 2}, {})


def test_a_value_that_no_attribute_can_have_fails_its_object_alone():
    items = [
        Pulled("7", {"title": "NUL \x00"}),
        Pulled("8", {"variants": [{"price": "\x00"}, {}]}),
        Pulled("9", {"title": "Hat"}),
    ]
    plan = planned(TITLE_AND_PRICE, items, {})
    assert [each.item for each in plan.failures] == ["7", "8"]
    assert list(plan.external_ids.values()) == ["9"]


def test_the_first_of_several_fields_of_an_attribute_is_written():
    twice = ChannelMapping([Field("attr-title", each, parse(each)) for each in ("a", "b")], KEY)
    plan = planned(twice, [Pulled("7", {"a": "One", "b": "Two"})], {})
    assert [row.values for row in plan.rows.values()] == [{"attr-title": "One"}]


def test_what_has_the_mark_of_a_step_is_left_alone():
    marked = Known("ent-1", "7", None, {}, None, "synclog-1 pull")
    assert not planned(
        TITLE_AND_PRICE, [Pulled("7", {"title": "A"})], {"7": marked}, "synclog-1 pull"
    ).rows
    marked = Known("ent-1", "7", None, {}, None, "synclog-1 push")
    assert not planned_push(TITLE_AND_PRICE, [HAT], {"ent-1": marked}, "synclog-1 push").items


def test_a_create_that_is_sent_again_keeps_its_key_while_it_is_the_same():
    (first,) = planned_push(TITLE_AND_PRICE, [HAT], {}).items
    sent = TITLE_AND_PRICE.fingerprints(TITLE_AND_PRICE.mapped(HAT))
    lost = {"ent-1": Known("ent-1", None, first.key, sent)}
    (same,) = planned_push(TITLE_AND_PRICE, [HAT], lost).items
    (other,) = planned_push(TITLE_AND_PRICE, [source(title="Cap", price=5)], lost).items
    assert same.key == first.key
    assert other.key not in ("", first.key)

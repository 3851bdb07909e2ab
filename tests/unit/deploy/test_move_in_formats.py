"""Codes, numbers, patterns, lines and rows of an export, one by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.importers import cells
from deploy.importers.akeneo.reading import SourceAttribute
from deploy.importers.akeneo.rules import attribute_pattern, rules_of
from deploy.importers.akeneo.sources import Ledger
from deploy.importers.akeneo.types import Shape
from deploy.importers.csv_rows import read_rows
from deploy.importers.names import slug
from deploy.importers.plan import Kind, RefusedRow
from tests.unit.deploy.akeneo import FILES, body, planned, records, row


@pytest.fixture
def catalogue_folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_rows_that_cannot_be_records_are_refused_whole(catalogue_folder):
    plan = planned(
        catalogue_folder,
        row(family="knives", title_en_US="Nobody"),
        row(sku="a", family="forks"),
        row(sku="b", family="knives"),
        row(sku="B", family="knives"),
        row(sku="c", family="knives") + ";too;much",
    )
    refused = [item for item in plan.records() if isinstance(item, RefusedRow)]
    assert [(r.problem.line, r.problem.message, r.cells) for r in refused] == [
        (2, "has no identifier", 2),
        (3, "has family 'forks', which is not in families.csv", 2),
        (5, "repeats the product of line 4", 2),
        (6, "has more cells than the header has columns", 4),
    ]


def test_each_reading_of_the_records_starts_from_the_first(catalogue_folder):
    plan = planned(catalogue_folder, row(sku="a"), row(sku="b"))
    assert [r.id for r in records(plan)] == [r.id for r in records(plan)] == ["ent-a", "ent-b"]


def test_columns_that_name_nothing_known_say_so_and_refuse_only_filled_cells(catalogue_folder):
    header = "sku;colour;title-de_DE;story-en_US-moon;cost-GBP;blades-extra;uuid"
    plan = planned(catalogue_folder, "a;red;x;y;1;2;0-0", "b;;;;;;", header=header)
    first, second = records(plan)
    assert [p.message for p in first.problems] == [
        "the catalogue has no attribute 'colour'",
        "no channel publishes locale 'de_DE'",
        "the catalogue has no channel 'moon'",
        "no channel uses currency 'GBP'",
        "attribute 'blades' does not vary by 'extra'",
    ]
    assert first.left == {"Akeneo's own uuid": (1, 1)}
    assert second.problems == ()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("X_SELL", "x_sell"),
        ("Tshirt-divided-blue", "tshirt-divided-blue"),
        ("6_3mm", "6_3mm"),
        ("A B", "a-b-c8687a08"),
        ("a/b", "a-b-c14cddc0"),
        ("été", "t-bd010c64"),
    ],
)
def test_a_slug_is_the_code_where_it_can_be_and_never_that_of_another(code, expected):
    assert slug(code) == expected


def test_a_long_code_is_cut_and_told_apart():
    one, other = slug("x" * 200), slug("x" * 201)
    assert len(one) == len(other) == 128
    assert one != other


@pytest.mark.parametrize(
    ("text", "value"),
    [("499", 499), ("800.0000", 800), ("1.5", 1.5), ("-3", -3), (" 7 ", 7), ("1e3", 1000)],
)
def test_numbers(text, value):
    assert cells.number(text) == value


@pytest.mark.parametrize("text", ["", "12,5", "NaN", "Infinity", "0.12345678901234567890", "1 kg"])
def test_what_is_not_a_number_or_would_change_as_one(text):
    with pytest.raises(cells.Unfit):
        cells.number(text)


@pytest.mark.parametrize(
    ("regexp", "pattern"),
    [("/^[A-Z]+$/", "^[A-Z]+$"), ("#a/b#i", "(?i)a/b"), ("{x}u", "x"), ("/a\\/b/", "a\\/b")],
)
def test_patterns_lose_their_delimiters(regexp, pattern):
    assert attribute_pattern(regexp) == pattern


@pytest.mark.parametrize("regexp", ["^a$", "/a", "/a/x", "/(?=a)b/", ""])
def test_patterns_that_mean_nothing_to_re2(regexp):
    with pytest.raises(ValueError, match=r"^it|modifier"):
        attribute_pattern(regexp)


@pytest.mark.parametrize(
    ("settings", "rules"),
    [
        ({"number_min": "5", "negative_allowed": "0"}, {"min": 5}),
        ({"number_min": "-5", "negative_allowed": "0"}, {"min": 0}),
        ({"number_min": "-5", "negative_allowed": "1"}, {"min": -5}),
    ],
)
def test_no_negatives_never_widens_a_minimum(settings, rules):
    attribute = SourceAttribute("n", "pim_catalog_number", "", False, False, False, 0, {}, settings)
    ledger = Ledger()
    assert rules_of(attribute, Shape.NUMBER, ledger) == rules
    assert not ledger.left


def test_a_pattern_that_cannot_be_moved_is_told(catalogue_folder):
    text = FILES["attributes.csv"].replace("/^\\d{13}$/", "/^(?!0)\\d{13}$/")
    (catalogue_folder / "attributes.csv").write_text(text, encoding="utf-8")
    plan = planned(catalogue_folder, row(sku="a"))
    assert "pattern" not in body(plan, Kind.ATTRIBUTES, "gtin")["validation"]
    assert any("'gtin' is imported without its pattern" in note for note in plan.notes)


def test_lines_are_counted_as_an_editor_counts_them_and_delimiters_are_found(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('\ufeffa,b\n"1\n2",x\n\n3,\n,\n4,y\n', encoding="utf-8")
    assert [(r.line, dict(r.cells)) for r in read_rows(path)] == [
        (2, {"a": "1\n2", "b": "x"}),
        (5, {"a": "3"}),
        (7, {"a": "4", "b": "y"}),
    ]

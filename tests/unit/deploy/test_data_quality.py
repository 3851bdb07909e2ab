"""The report for data stewards: what it finds in made-up tables, and that its numbers add up."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from deploy.importers.names import Names
from deploy.importers.plan import Kind, Problem
from deploy.importers.progress import Progress
from deploy.importers.rehearsal import rehearse
from deploy.importers.report import Report
from deploy.importers.tables import quality
from deploy.importers.tables.findings import Concern, Findings
from deploy.importers.tables.look_alikes import look_alikes
from deploy.importers.tables.source import plan_of
from tests.unit.deploy.tables import write_tables


@pytest.fixture
def report() -> Report:
    return Report("made")


def written(folder: Path, report: Report) -> tuple[str, list[dict[str, str]]]:
    """The page and the lines of the table."""
    (folder / "data").mkdir()
    plan = plan_of(write_tables(folder / "data"), Names(), quality=folder / "quality")
    rehearse(plan, report, Progress(io.StringIO()))
    assert plan.finish is not None
    said = plan.finish(report)
    assert str(folder / "quality" / "quality.md") in said
    with (folder / "quality" / "findings.csv").open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    return (folder / "quality" / "quality.md").read_text(encoding="utf-8"), lines


def test_each_kind_of_dirt_is_found_where_it_is(tmp_path, report):
    _, lines = written(tmp_path, report)
    found = [
        tuple(line[name] for name in ("problem", "column", "value", "suggestion", "places"))
        for line in lines
        if line["category"] == "lamp"
    ]
    assert found == [
        (
            "row cannot be read",
            "",
            "the row is not an object with a value for each column",
            "",
            "14",
        ),
        ("row without a name", "", "the row has no name", "", "13"),
        ("value of another type", "watt", "8 W", "8", "6 7"),
        (
            "same product, other values",
            "name",
            "Dusk 1 (as row 6)",
            "they differ in price 0 and 24",
            "7",
        ),
        ("exact duplicate", "name", "Dusk 2 (as row 8)", "", "9"),
        ("name in two spellings", "name", "Dusk 3", "DUSK-3", "10"),
        ("broken letters", "name", "MÃ¼nster", "Münster", "12"),
        ("unlike all others", "price", "20000", "", "45"),
        ("unlike all others", "beam", "40, 10", "", "5"),
        ("zero or negative", "price", "0", "", "6"),
        ("range from high to low", "beam", "40, 10", "", "5"),
        ("options that look alike", "colour", "Grey", "Gray", "4"),
        ("option in another spelling", "colour", "deep red", "Deep Red", "3"),
        ("spaces or invisible letters", "colour", "deep  red", "deep red", "3"),
        ("spaces or invisible letters", "name", "Dawn\\u200b 5 ", "Dawn 5", "5"),
        ("placeholder for no value", "price", "n/a", "", "4"),
    ]
    (unfit,) = (one for one in lines if one["column"] == "watt")
    assert unfit["expected"] == "a number"
    assert unfit["done"] == "kept as text in unclear-values"
    assert (unfit["rows"], unfit["file"]) == ("2", "lamp.json")
    first, second = unfit["records"].split()
    assert second == f"{first}-2"
    (other,) = (one for one in lines if one["problem"] == "file is not UTF-8")
    assert (other["file"], other["value"]) == ("chair.csv", "cp1252")


def numbers(text: str) -> list[int]:
    return [int(one.replace(",", "")) for one in re.findall(r"\d[\d,]*", text)]


def test_every_number_adds_up_to_the_rows_of_the_files(tmp_path, report):
    page, lines = written(tmp_path, report)
    assert "| **60** | in all |" in page
    read, records, repeated, refused = [0] * 4
    for section in page.split("\n## ")[1:]:
        said = re.search(r"^([\d,]+ rows? = .*)", section, re.MULTILINE)
        if said is None:
            continue
        counts = numbers(said[1])
        assert counts[0] == sum(counts[1:4])
        readable = counts[1] + counts[2]
        assert f"Of the {readable} rows that were not refused" in section
        read, records = read + counts[0], records + counts[1]
        repeated, refused = repeated + counts[2], refused + counts[3]
        for line in re.findall(r"^\| \w+ \| [a-z, ]+ \| (\d.*) \|$", section, re.MULTILINE):
            *cells, suspicious = numbers(line)
            assert sum(cells) == readable, line
            assert suspicious <= cells[0] + cells[1]
    assert (read, records, repeated, refused) == (60, 55, 1, 4)
    summary = page.split("\n## ")[0]
    assert "55 to be sent" in summary
    for kind, count in ((" rows", 60), (" are a record each", 55)):
        assert kind.strip() in summary and str(count) in summary
    of_rows = ("row cannot be read", "row without a name", "file cannot be read")
    assert sum(int(one["rows"]) for one in lines if one["problem"] in of_rows) == refused
    assert report.outcomes[Kind.RECORDS].total() == records + refused
    assert report.exit_code == 1


def test_what_sigma_refused_is_in_the_report(tmp_path, report):
    report.refuse(
        Problem(
            Kind.RECORDS,
            "lamp-dawn-1",
            "too much",
            file="lamp.json",
            line=1,
            columns=("price",),
            attribute="price",
            value="20",
            code="VALIDATION_ERROR",
        )
    )
    page, lines = written(tmp_path, report)
    (refused,) = (one for one in lines if one["problem"] == "refused by Sigma")
    assert (refused["column"], refused["value"], refused["places"]) == ("price", "20", "1")
    assert refused["expected"] == "VALIDATION_ERROR too much"
    assert refused["done"] == "the record was imported without the value"
    assert "| refused by Sigma | 1 | 1 | lamp price (1) |" in page


def test_no_value_is_a_formula_in_a_spreadsheet(tmp_path, report):
    (tmp_path / "data").mkdir()
    rows = [{"name": f"N{n}", "size": n} for n in range(20)] + [{"name": "=N", "size": "=1+1"}]
    (tmp_path / "data" / "evil.json").write_text(json.dumps(rows))
    plan = plan_of(tmp_path / "data", Names(), quality=tmp_path)
    assert plan.finish is not None
    plan.finish(report)
    with (tmp_path / "findings.csv").open(encoding="utf-8-sig", newline="") as file:
        (line,) = csv.DictReader(file)
    assert line["value"] == "'=1+1"


@pytest.mark.parametrize(
    ("label", "other", "how"),
    [
        ("Micro-ATX", "Micro ATX", "the letters are the same"),
        ("Café", "Cafe", "the letters are the same"),
        ("White / Black", "Black / White", "the words are the same in another order"),
        ("Dark Grey", "Dark Gray", "one letter differs"),
        ("Balck", "Black", "one letter differs"),
        ("Speakers", "Speaker", "one letter differs"),
    ],
)
def test_options_that_look_alike_are_told_with_the_more_frequent_one(label, other, how):
    assert look_alikes({label: 1, other: 5}) == {label: (other, how)}


@pytest.mark.parametrize(
    ("one", "other"),
    [("LGA1150", "LGA1151"), ("Type A", "Type C"), ("Red", "Rev"), ("Hue", "Hue+"), ("2.5", "25")],
)
def test_options_that_differ_in_numbers_and_short_words_are_different(one, other):
    assert look_alikes({one: 1, other: 5}) == {}


def test_an_example_of_several_lines_stays_an_example():
    findings = Findings({})
    place = "lamp", "lamp.csv", 3
    value = "8\n\n## Nothing was `found`\n\n| all | well |"
    findings.add(place, "watt", Concern.UNFIT, value, expected="a number", done="kept as text")
    [one] = findings
    assert quality._example(one) == "`8 ## Nothing was 'found' | all | well |` (row 3)"

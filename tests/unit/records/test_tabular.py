"""Names of columns and cells of spreadsheets: what is written is read back as it was."""

from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records_service.exports import xlsx
from records_service.exports.xlsx import XlsxWriter, column_letters
from records_service.tabular.cells import (
    CLEAR,
    cell_of,
    escaped,
    guarded,
    text_of,
    unescaped,
    unguarded,
)
from records_service.tabular.columns import UnusableColumn, column_name, parse_column


def test_a_column_is_an_attribute_alone_or_with_its_scope():
    assert parse_column("name") == ("name", None)
    assert parse_column("name[dim-language=seg-da]") == ("name", {"dim-language": "seg-da"})
    scope = {"dim-market": "seg-dk", "dim-language": "seg-en"}
    assert column_name("price", scope) == "price[dim-market=seg-dk,dim-language=seg-en]"
    assert parse_column(column_name("price", scope)) == ("price", scope)
    assert parse_column("price [ dim-market = seg-dk ]") == ("price", {"dim-market": "seg-dk"})


@pytest.mark.parametrize("name", ["a[]", "a[b]", "a[b=]", "a[=c]", "a[b=c,]", "a[b=c,b=d]"])
def test_a_scope_that_cannot_be_read_is_refused(name: str):
    with pytest.raises(UnusableColumn):
        parse_column(name)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-0.02", "@x", "\tx", "\rx", "'=x", "''-x", CLEAR])
def test_a_text_that_is_taken_for_a_formula_is_guarded(text: str):
    assert guarded(text) == f"'{text}"
    assert unguarded(guarded(text)) == text


@pytest.mark.parametrize("text", ["", "x", "'", "'x", "''", "a=b", " =1", r"\n", r"\Nx", "\n="])
def test_any_other_text_stays_byte_for_byte(text: str):
    assert guarded(text) == unguarded(text) == text


@given(st.text(alphabet="'=+-@\t\r\\N x|["))
def test_a_guarded_text_is_read_back(text: str):
    assert unguarded(guarded(text)) == text
    assert unescaped(escaped(text)) == text
    assert guarded(text) == CLEAR or CLEAR not in (guarded(text), escaped(text))


def test_numbers_are_never_guarded():
    assert [text_of(cell_of(number)) for number in (-0.02, 1e300, -5, 2**60)] == [
        "-0.02",
        "1e+300",
        "-5",
        "1152921504606846976",
    ]
    assert text_of(cell_of(True)) == "true"


def test_several_values_are_separated_by_a_bar_where_that_can_be_read_back():
    assert cell_of(["val-red", "val-blue"]) == "val-red|val-blue"
    assert cell_of(["=a", "b"]) == "'=a|b"
    assert cell_of([1, 2.5]) == "1|2.5"
    assert cell_of(["a|b", "c"]) == '["a|b","c"]'
    assert cell_of(["[a"]) == '["[a"]'
    assert cell_of([""]) == '[""]'
    assert cell_of([]) == "[]"
    assert cell_of([{"url": "http://a/b"}]) == '[{"url":"http://a/b"}]'
    assert cell_of({"a": 1}) == '{"a":1}'


def test_columns_of_a_spreadsheet_have_letters():
    assert [column_letters(index) for index in (0, 25, 26, 701, 702, 16_383)] == [
        "A",
        "Z",
        "AA",
        "ZZ",
        "AAA",
        "XFD",
    ]


def test_more_rows_than_a_sheet_has_go_on_in_the_next_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(xlsx, "ROWS_PER_SHEET_MAX", 3)
    writer = XlsxWriter()
    made = writer.begin(["h"]) + writer.rows([["a"], ["b"], ["c"]]) + writer.rows([]) + writer.end()
    archive = zipfile.ZipFile(io.BytesIO(made))
    sheets = [name for name in archive.namelist() if "worksheets" in name]
    assert [archive.read(name).count(b"<row ") for name in sheets] == [3, 2]
    assert archive.read("xl/workbook.xml").count(b"<sheet ") == 2

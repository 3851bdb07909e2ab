"""The file of an export job, however the body of the export is cut into pieces."""

from __future__ import annotations

import csv
import gzip
import io
import tracemalloc
from datetime import UTC, datetime, timedelta, timezone
from xml.etree import ElementTree as ET

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_service.formats import Compression, CutOff, Format, file_name, media_type, writer

BAD = "\x07\x00\ufffe<&>\"'\r\n\t\U0001f600\u2028å漢"
SHIRT = {
    "id": "ent-1",
    "schemaId": "sch-shirt",
    "lifecycleStateId": "state-draft",
    "values": {
        "name": [
            {"scope": {}, "value": "Shirt"},
            {"scope": {"dim-language": "seg-da", "1st": "seg-a"}, "value": BAD},
        ],
        "colours": [{"scope": {}, "value": ["red", "blue"]}],
        "size": [{"scope": {}, "value": {"width": 1.5, "note": "\x07"}}],
        "price": [{"scope": {}, "value": -0.02}],
        "sold": [{"scope": {}, "value": True}],
    },
}
FLAT = {
    "_id": "ent-2",
    "schemaId": "sch-shirt",
    "lifecycleStateId": None,
    "name": "B",
    "size": None,
}


def exported(*records: dict) -> bytes:
    return b"".join(orjson.dumps(record) + b"\n" for record in records)


def made(
    source: bytes, kind: Format, size: int = 1 << 20, compression: Compression = Compression.NONE
) -> tuple[bytes, int, int]:
    """The file, and how many records and replaced characters were counted."""
    writing = writer(kind, compression)
    pieces = [writing.feed(source[at : at + size]) for at in range(0, len(source), size)]
    return b"".join([*pieces, writing.finish()]), writing.records, writing.replaced


def table(*rows: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def test_json_is_an_array_of_what_was_exported():
    content, records, replaced = made(exported(SHIRT, FLAT), Format.JSON)
    assert (orjson.loads(content), records, replaced) == ([SHIRT, FLAT], 2, 0)


def test_json_lines_have_a_record_in_each_line_for_every_kind_of_reader():
    content, records, _ = made(exported(SHIRT, FLAT), Format.JSONL)
    lines = content.decode().splitlines()
    assert ([orjson.loads(line) for line in lines], records) == ([SHIRT, FLAT], 2)


def test_xml_has_values_with_their_scopes_and_counts_what_it_cannot_hold():
    content, records, replaced = made(exported(SHIRT, FLAT), Format.XML)
    shirt, flat = ET.fromstring(content)
    found = [(value.attrib, value.text) for value in shirt]
    assert (records, replaced) == (2, 3)
    assert shirt.attrib == {
        "id": "ent-1",
        "schemaId": "sch-shirt",
        "lifecycleStateId": "state-draft",
    }
    assert found == [
        ({"attribute": "name"}, "Shirt"),
        (
            {"attribute": "name", "dim-language": "seg-da", "_x0031_st": "seg-a"},
            "\ufffd\ufffd\ufffd<&>\"'\r\n\t\U0001f600\u2028å漢",
        ),
        ({"attribute": "colours"}, "red"),
        ({"attribute": "colours"}, "blue"),
        ({"attribute": "size"}, '{"width":1.5,"note":"\\u0007"}'),
        ({"attribute": "price"}, "-0.02"),
        ({"attribute": "sold"}, "true"),
    ]
    assert flat.attrib == {"id": "ent-2", "schemaId": "sch-shirt"}
    assert [(value.attrib, value.text) for value in flat] == [({"attribute": "name"}, "B")]


@pytest.mark.parametrize(
    ("dimension", "name"),
    [
        ("dim-language", "dim-language"),
        ("attribute", "_x0061_ttribute"),
        ("attribute-2", "attribute-2"),
        ("xmlns", "_x0078_mlns"),
        ("9.a", "_x0039_.a"),
        ("_x0031_st", "_x005F_x0031_st"),
    ],
)
def test_a_dimension_of_any_name_is_an_attribute_of_xml(dimension, name):
    values = {"a": [{"scope": {dimension: "seg"}, "value": "v"}]}
    content, _, _ = made(exported({**SHIRT, "values": values}), Format.XML)
    (record,) = ET.fromstring(content)
    assert record[0].attrib == {"attribute": "a", name: "seg"}


def test_csv_is_what_was_exported_and_rows_are_counted_without_header_and_inner_lines():
    source = table(["_id", 'na"me'], ["ent-1", 'two\r\nlines "quoted"'], ["ent-2", "\n"])
    for size in (1, 2, 7, 1_000):
        assert made(source, Format.CSV, size) == (source, 2, 0)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (Format.JSON, b"[]"),
        (Format.JSONL, b""),
        (Format.XML, b'<?xml version="1.0" encoding="UTF-8"?>\n<records>\n</records>\n'),
    ],
)
def test_a_file_without_records_is_whole(kind, content):
    assert made(b"", kind) == (content, 0, 0)


def test_a_table_without_records_has_its_header():
    assert made(b"_id,name\r\n", Format.CSV) == (b"_id,name\r\n", 0, 0)


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        *((kind, exported(SHIRT)[:-1]) for kind in (Format.JSON, Format.JSONL, Format.XML)),
        (Format.CSV, b""),
        (Format.CSV, b"_id,name\r\nent-1,x"),
        (Format.CSV, b'_id,name\r\nent-1,"two\r\n'),
    ],
)
@pytest.mark.parametrize("compression", Compression)
def test_what_ends_within_a_record_is_no_file(kind, source, compression):
    with pytest.raises(CutOff):
        made(source, kind, compression=compression)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.lists(texts, max_size=5), st.integers(1, 50), st.sampled_from(Compression))
def test_how_the_body_is_cut_changes_nothing(names, size, compression):
    records = [{**SHIRT, "values": {"name": [{"scope": {}, "value": name}]}} for name in names]
    sources = {kind: exported(*records) for kind in Format}
    sources[Format.CSV] = table(["_id", "name"], *(["ent-1", name] for name in names))
    for kind, source in sources.items():
        content, *counted = made(source, kind, size, compression)
        if compression is Compression.GZIP:
            content = gzip.decompress(content)
        assert (content, *counted) == made(source, kind)
        if kind is Format.XML:
            assert len(ET.fromstring(content)) == len(names)


@pytest.mark.parametrize("kind", [Format.JSON, Format.JSONL, Format.XML])
def test_a_large_file_takes_no_memory(kind):
    piece = exported(*[SHIRT] * 200)
    writing = writer(kind, Compression.GZIP)
    writing.feed(piece)
    tracemalloc.start()
    for _ in range(100):
        writing.feed(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * len(piece)


def test_file_names_are_plain_and_have_the_time_of_the_run():
    at = datetime(2026, 2, 4, 18, 30, tzinfo=timezone(timedelta(hours=1)))
    assert (
        file_name("Ünïcode: all / Products!", at, Format.CSV, Compression.GZIP)
        == "unicode-all-products-20260204T173000Z.csv.gz"
    )
    assert file_name("漢", at, Format.XML, Compression.NONE) == "export-20260204T173000Z.xml"
    longest = file_name("a" * 5_000, datetime.now(UTC), Format.JSONL, Compression.NONE)
    assert len(longest) < 110


def test_a_compressed_file_has_the_media_type_of_its_compression():
    assert media_type(Format.CSV, Compression.NONE) == "text/csv; charset=utf-8"
    assert media_type(Format.CSV, Compression.GZIP) == "application/gzip"

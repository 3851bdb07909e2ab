"""A record as an element of XML.

    <record id="ent-1" schemaId="sch-shirt" lifecycleStateId="state-draft">
        <value attribute="name" dim-language="seg-en">Shirt</value>
    </record>

A value has its scope as one XML attribute for each dimension. An attribute with several values has
one element for each of them. Objects, such as those of complex attributes, stand as JSON. With a
scope asked for, each value is the one that applies there, and there are no dimensions.

XML (1.0, section 2.2) forbids some characters also in their escaped form; each is replaced by
U+FFFD. Ids of dimensions that are no XML names are written as SQL/XML does (ISO 9075-14): `1st` as
`_x0031_st`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

BEGIN: Final = b'<?xml version="1.0" encoding="UTF-8"?>\n<records>\n'
END: Final = b"</records>\n"

_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_ESCAPED: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_ESCAPED_IN_QUOTES: Final = _ESCAPED | str.maketrans({'"': "&quot;", "\t": "&#9;", "\n": "&#10;"})
_NO_NAME: Final = re.compile(
    r"\A[^a-z_]|\Ax(?=ml)|\Aa(?=ttribute\Z)|_(?=x[0-9A-F]{4}_)|[^a-z0-9_.-]",
    re.IGNORECASE | re.ASCII,
)
"""What cannot be in the name of an XML attribute, or would mean something else there."""
_FLAT_ID: Final = "_id"
_FLAT_HEAD: Final = frozenset({_FLAT_ID, "schemaId", "lifecycleStateId"})


def element(line: bytes) -> tuple[bytes, int]:
    """A record, or a flat row, as its element and a line end; and how many characters it lost."""
    record = orjson.loads(line)
    flat = _FLAT_ID in record
    head = {
        "id": record[_FLAT_ID if flat else "id"],
        "schemaId": record["schemaId"],
        "lifecycleStateId": record["lifecycleStateId"],
    }
    values = _flat_values(record) if flat else _values(record["values"])
    parts = [f"<record{_attributes(head)}>"]
    for attribute, scope, value in values:
        names = {"attribute": attribute, **{_name(key): segment for key, segment in scope.items()}}
        parts.append(f"<value{_attributes(names)}>{_text(value).translate(_ESCAPED)}</value>")
    parts.append("</record>\n")
    text, replaced = _FORBIDDEN.subn("\ufffd", "".join(parts))
    return text.encode(), replaced


def _attributes(values: Mapping[str, str | None]) -> str:
    return "".join(
        f' {name}="{value.translate(_ESCAPED_IN_QUOTES)}"'
        for name, value in values.items()
        if value is not None
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _values(values: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, str], Any]]:
    for attribute, entries in values.items():
        for entry in entries:
            for value in _each(entry["value"]):
                yield attribute, entry["scope"], value


def _flat_values(row: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, str], Any]]:
    for attribute, value in row.items():
        if attribute not in _FLAT_HEAD:
            for each in _each(value):
                yield attribute, {}, each


def _each(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _name(dimension_id: str) -> str:
    """The name of the XML attribute for a dimension."""
    return _NO_NAME.sub(lambda found: f"_x{ord(found[0]):04X}_", dimension_id)

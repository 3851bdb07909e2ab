"""Unique keys: the rows that reserve the values of unique attributes.

A value is unique in the workspace, per attribute and per equal scope. The key is a hash of the
value's canonical form, so that all rows of the index have the same size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, TypeAlias

import orjson

from records_service.attributes.model import Attribute
from shared.frozen import quick


@quick
class UniqueKey:
    """One reserved value; `value` is kept for the message, not stored."""

    attribute_id: str
    scope: str
    value_hash: bytes
    value: Any

    @property
    def key(self) -> tuple[str, str, bytes]:
        """What is reserved, to compare and sort by."""
        return self.attribute_id, self.scope, self.value_hash


def unique_keys_of(attribute: Attribute, entries: Iterable[Mapping[str, Any]]) -> list[UniqueKey]:
    """The unique keys of these entries; none for an attribute that is not unique.

    An empty text is no value, as completeness has it, so any number of records may have it. Of
    several values each has a key, once: a record may repeat what no other may have.
    """
    if not attribute.validation.unique:
        return []
    if attribute.multiple:
        keys = [
            _unique_key(attribute, entry["scope"], item)
            for entry in entries
            for item in entry["value"]
        ]
        return list({key.key: key for key in keys}.values())
    return [
        _unique_key(attribute, entry["scope"], entry["value"])
        for entry in entries
        if entry["value"] != ""
    ]


def _unique_key(attribute: Attribute, scope: Mapping[str, str], value: Any) -> UniqueKey:
    return UniqueKey(
        attribute_id=attribute.id,
        scope=orjson.dumps(scope, option=orjson.OPT_SORT_KEYS).decode(),
        value_hash=sha256(_canonical(value)).digest(),
        value=value,
    )


Holder: TypeAlias = tuple[str, str | None]
"""The ids of a record and of its variant; None for the record itself."""


def unique_keys_held(
    attribute: Attribute, held: Iterable[tuple[Holder, str]]
) -> list[tuple[Holder, UniqueKey]]:
    """The unique keys of many records or variants, whose entries are JSON."""
    return [
        (holder, key)
        for holder, entries in held
        for key in unique_keys_of(attribute, orjson.loads(entries))
    ]


def _canonical(value: Any) -> bytes:
    """Equal for equal values: 1 and 1.0 are one number."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int):
        return str(value).encode()
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)

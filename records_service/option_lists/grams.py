"""The parts of an option's names by which it is found: hashes of all three characters in a row.

A text that contains another one contains its parts, so an index of them finds what may contain it;
the texts themselves decide. A hash is one of a list, and of one of `BUCKETS` parts of it, so that a
search reads only as many of these as it needs.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Final

from records_service.option_lists.model import OptionValue

BUCKETS: Final = 4
"""What is stored depends on it."""
GRAM: Final = 3
_SIGN: Final = 1 << 31


def grams_of(workspace_id: str, list_id: str, value: OptionValue) -> list[int]:
    """What is stored with an option: the parts of all of its names."""
    begun = _begun(workspace_id, list_id, zlib.crc32(value.id.encode()) % BUCKETS)
    names = [value.label, value.alias, value.external_key or "", *(t for _, t in value.labels)]
    return _hashes(begun, {part for name in names for part in _parts(name)})


def grams_sought(workspace_id: str, list_id: str, text: str) -> list[list[int]]:
    """For each bucket, what an option has whose name contains this text; none for a short one."""
    parts = set(_parts(text))
    if not parts:
        return []
    return [_hashes(_begun(workspace_id, list_id, each), parts) for each in range(BUCKETS)]


def _begun(workspace_id: str, list_id: str, bucket: int) -> int:
    return zlib.crc32(f"{workspace_id} {list_id} {bucket} ".encode())


def _parts(text: str) -> Iterable[bytes]:
    # Upper and lower case are the same, by the rule of Unicode that looks at each character alone.
    folded = text.casefold()
    places = range(len(folded) - GRAM + 1)
    if folded.isascii():
        encoded = folded.encode()
        return (encoded[at : at + GRAM] for at in places)
    return (folded[at : at + GRAM].encode() for at in places)


def _hashes(begun: int, parts: Iterable[bytes]) -> list[int]:
    return [zlib.crc32(part, begun) - _SIGN for part in parts]

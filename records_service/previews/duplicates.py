"""Finds values that several records have, among a million, in some 50 bytes for each.

A dictionary would take four times as much. Values are known by eight bytes of their hash, which two
different ones of a million share once in forty million cases.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Final

from records_service.attributes.unique_keys import UniqueKey

BUCKETS: Final = 64
"""One is searched at a time, so that what that takes is small."""
KEYS_MAX: Final = 2_000_000


class Duplicates:
    """The unique keys of records, each with the record that holds it, or a variant of it."""

    def __init__(self) -> None:
        self._hashes = [array("q") for _ in range(BUCKETS)]
        self._holders = [array("L") for _ in range(BUCKETS)]
        self._ids = bytearray()
        self._ends = array("Q")
        self._keys = 0

    @property
    def is_full(self) -> bool:
        """Whether no more may be added."""
        return self._keys >= KEYS_MAX

    def add(self, record_id: str, keys: Iterable[UniqueKey]) -> None:
        """Take note of what a record, or a variant of it, would reserve."""
        holder = len(self._ends)
        for key in keys:
            # The same value may be in every scope once.
            scoped = key.value_hash + key.scope.encode()
            found = int.from_bytes(sha256(scoped).digest()[:8], "big", signed=True)
            self._hashes[found % BUCKETS].append(found)
            self._holders[found % BUCKETS].append(holder)
            self._keys += 1
        self._ids += record_id.encode()
        self._ends.append(len(self._ids))

    def records(self) -> set[str]:
        """The records that have a value which another record has, too."""
        return {self._id(holder) for bucket in range(BUCKETS) for holder in self._shared_in(bucket)}

    def _shared_in(self, bucket: int) -> Iterator[int]:
        first: dict[int, int] = {}
        for found, holder in zip(self._hashes[bucket], self._holders[bucket], strict=True):
            known = first.setdefault(found, holder)
            if known != holder:
                yield known
                yield holder

    def _id(self, holder: int) -> str:
        start = self._ends[holder - 1] if holder else 0
        return self._ids[start : self._ends[holder]].decode()

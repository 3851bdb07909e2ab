"""Which records of very many are ranked: a part of a sample, told by the ids of records alone.

The index of texts has a sample of one of 16 records, and in it one of 256 (`SAMPLES`). A part of a
sample are the records whose ids have the smallest hashes: an index of these hashes finds them. The
cursor of a page has the number of the part, so it is the same for all pages of a search, whatever
is written meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from records_service.search_texts.documents import SAMPLES

RANKED: Final = 200
"""At least about so many are ranked, and hardly more than twice as many."""
_WHOLE: Final = 1 << 16
_NUMBERS: Final = 16


@dataclass(frozen=True, slots=True)
class Part:
    """The records of a sample whose hashes, of 16 bits, are smaller than `until`."""

    level: int
    """The place of the sample in `SAMPLES`."""
    until: int = _WHOLE

    @classmethod
    def numbered(cls, number: int) -> Part | None:
        """The part with this number; None for a number that none has."""
        until, level = divmod(number, _NUMBERS)
        if level not in range(1, len(SAMPLES)) or not 0 <= until < _WHOLE:
            return None
        return cls(level, until or _WHOLE)

    @property
    def number(self) -> int:
        """It stands in cursors; that of a whole sample is its level."""
        return self.level + _NUMBERS * (self.until % _WHOLE)

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the sample."""
        return self.until == _WHOLE

    def for_page(self, found: int) -> Part:
        """What is ranked of the part, where so many are found in it."""
        if found < 2 * RANKED:
            return self
        return Part(self.level, self.until * RANKED // found)

    def of_all(self, found: int) -> int:
        """How many are found of all records, if so many of this part are."""
        return found * SAMPLES[self.level] * _WHOLE // self.until

    def inside(self, row: str) -> str:
        """The condition for the index of hashes that a row `search_texts` is in the part.

        Nothing for all of a sample: that is told by the mark of its keys.
        """
        if self.is_whole:
            return "true"
        levels = ",".join(map(str, range(self.level, len(SAMPLES))))
        hashed = f"{_hash(f'{row}.record_id')} < '{self.until:04x}'"
        return f"{row}.level = ANY('{{{levels}}}'::smallint[]) AND {hashed}"

    def outside(self, level: str, record_id: str) -> str:
        """The condition that the record with this level and id is not in the part."""
        if self.is_whole:
            return f"{level} < {self.level}"
        return f"({level} < {self.level} OR {_hash(record_id)} >= '{self.until:04x}')"


MEASURED: Final = (Part(2, _WHOLE // 8), Part(2), Part(1))
"""The parts that are asked one after the other, until one has enough."""


def _hash(record_id: str) -> str:
    return f'substr(md5({record_id}), 3, 4) COLLATE "C"'

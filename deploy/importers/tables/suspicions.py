"""Tells numbers that are unlike the others of their column. They are imported as they are.

On a logarithmic scale, as sizes and prices spread: what lies further from the middle half of a
column than three times its width, as usual for extreme outliers (Tukey's outer fences).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from deploy.importers.tables.findings import Concern
from deploy.importers.tables.profile import Column
from deploy.importers.tables.reading import Cell, Form, plain

VALUES_MIN = 20
_FENCE = 3.0
_WIDTH_MIN = 0.15
"""Of the middle half, in powers of ten: a column of almost equal numbers has no outliers."""
_FEW, _MOST = 0.05, 0.95
_OUTLIERS_MIN = 2
"""As many are outliers also of few values."""
_ZEROS_FEW = 0.02
_PAIR = 2
_PRICE = re.compile(r"price|cost|msrp", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Why a value is suspicious."""

    concern: Concern
    value: str
    expected: str


@dataclass(frozen=True, slots=True)
class Usual:
    """What is usual at one place of a column."""

    low: float
    high: float
    zero_is_odd: bool
    negative_is_odd: bool


@dataclass(frozen=True, slots=True)
class Watch:
    """What is usual in a column of numbers."""

    usual: dict[int, Usual]
    is_range: bool
    length: int | None
    """The length of almost all lists (0: single numbers); None where it differs."""

    @classmethod
    def of(cls, column: Column) -> Watch:
        """From all its values."""
        count = column.lengths.total()
        length, frequent = next(iter(column.lengths.most_common(1)), (0, 0))
        pairs = column.lengths[_PAIR]
        is_range = (
            column.lengths[0] > _FEW * count
            and pairs > _FEW * count
            and column.descending < _FEW * pairs
        )
        places = {place: values for place, values in column.numbers.items() if place <= _PAIR}
        return cls(
            {
                place: _usual(values, is_price=_PRICE.search(column.name) is not None)
                for place, values in places.items()
            },
            is_range,
            length if count >= VALUES_MIN and frequent >= _MOST * count else None,
        )

    def look(self, cell: Cell) -> Iterator[Suspicion]:
        """What is odd about a cell."""
        if cell.form is Form.NUMBER:
            yield from self._look(0, cell.value, cell)
        elif cell.form is Form.NUMBERS:
            numbers: Sequence[Any] = cell.value
            for place, number in enumerate(numbers[:_PAIR], 1):
                yield from self._look(place, number, cell)
            if self.is_range and len(numbers) == _PAIR and numbers[0] > numbers[1]:
                yield Suspicion(Concern.REVERSED, cell.text, "the lower number first")
        length = len(cell.value) if cell.form is Form.NUMBERS else 0
        if self.length is not None and length != self.length:
            usual = f"{self.length} numbers" if self.length else "one number"
            yield Suspicion(Concern.OTHER_SHAPE, cell.text, f"{usual}, as in almost all rows")

    def _look(self, place: int, number: float, cell: Cell) -> Iterator[Suspicion]:
        usual = self.usual.get(place)
        if usual is None:
            return
        is_lower_end = self.is_range and place == 1
        if (number == 0 and usual.zero_is_odd and not is_lower_end) or (
            number < 0 and usual.negative_is_odd
        ):
            yield Suspicion(Concern.ZERO, cell.text, "a number above 0, as in almost all rows")
        elif number > 0 and not usual.low <= number <= usual.high:
            low, high = _short(usual.low), _short(usual.high)
            yield Suspicion(
                Concern.OUTLIER, cell.text, f"between {low} and {high}, as almost all are"
            )


def _usual(values: Sequence[float], *, is_price: bool) -> Usual:
    zeros = sum(value == 0 for value in values)
    negatives = sum(value < 0 for value in values)
    logs = sorted(math.log10(value) for value in values if value > 0)
    low, high = -math.inf, math.inf
    if len(logs) >= VALUES_MIN and (is_price or not _are_names(values)):
        first, third = logs[len(logs) // 4], logs[len(logs) * 3 // 4]
        width = _FENCE * max(third - first, _WIDTH_MIN)
        outside = sum(not first - width <= one <= third + width for one in logs)
        # A scale with two ends far apart is wide, not full of outliers.
        if outside <= max(_OUTLIERS_MIN, _FEW * len(logs)):
            low, high = 10 ** (first - width), 10 ** (third + width)
    is_enough = len(values) >= VALUES_MIN
    return Usual(
        low,
        high,
        is_price or (is_enough and zeros < _ZEROS_FEW * len(values)),
        is_price or (is_enough and negatives < _ZEROS_FEW * len(values)),
    )


def _are_names(values: Sequence[float]) -> bool:
    """Whether numbers stand for things, such as 4711: whole, and hardly one comes twice."""
    return len(set(values)) > _MOST * len(values) and all(one.is_integer() for one in values)


def _short(number: float) -> str:
    return plain(float(f"{number:.2g}"))

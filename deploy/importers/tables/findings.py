"""What a data steward should look at: one finding for each problem of one value in one column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

PLACES_KEPT_MAX = 50
FINDINGS_MAX = 100_000
VALUE_LENGTH_MAX = 200
OTHERS = "(further values)"


class Concern(StrEnum):
    """The kinds of problem, the most urgent first."""

    BROKEN_FILE = "file cannot be read"
    BROKEN_ROW = "row cannot be read"
    NO_NAME = "row without a name"
    REFUSED = "refused by Sigma"
    UNFIT = "value of another type"
    SAME_KEY = "same product, other values"
    LESS_FILLED = "same product, a value is missing"
    SAME_ROW = "exact duplicate"
    SAME_NAME = "name in two spellings"
    WRONG_LETTERS = "broken letters"
    OTHER_ENCODING = "file is not UTF-8"
    SHORT_ROW = "row with too few cells"
    OUTLIER = "unlike all others"
    ZERO = "zero or negative"
    REVERSED = "range from high to low"
    OTHER_SHAPE = "unusual number of values"
    LOOK_ALIKE = "options that look alike"
    SPELLING = "option in another spelling"
    CONVERTED = "type converted"
    CLEANED = "spaces or invisible letters"
    PLACEHOLDER = "placeholder for no value"


REFUSALS = (Concern.BROKEN_FILE, Concern.BROKEN_ROW, Concern.NO_NAME)
"""Of rows that became no record."""


@dataclass(slots=True)
class Finding:
    """A problem, and the rows that have it."""

    category: str
    attribute: str
    concern: Concern
    value: str
    expected: str
    done: str
    file: str
    suggestion: str = ""
    count: int = 0
    rows: list[int] = field(default_factory=list)
    """The first of them."""

    def add(self, row: int, times: int = 1) -> None:
        """One more row, or this many of which only one is named."""
        self.count += times
        if len(self.rows) < PLACES_KEPT_MAX:
            self.rows.append(row)


@dataclass(slots=True)
class Findings:
    """All findings; beyond a bound, further values of a problem are counted together."""

    by_key: dict[tuple[str, str, Concern, str], Finding] = field(default_factory=dict)

    def add(
        self,
        place: tuple[str, str, int],
        attribute: str,
        concern: Concern,
        value: str,
        *,
        expected: str = "",
        done: str = "",
        suggestion: str = "",
        times: int = 1,
    ) -> None:
        """Note a problem at a place: category, file and row; the row stands for this many."""
        category, file, row = place
        value = value if len(value) <= VALUE_LENGTH_MAX else value[:VALUE_LENGTH_MAX] + "…"
        key = (category, attribute, concern, value)
        found = self.by_key.get(key)
        if found is None and len(self.by_key) >= FINDINGS_MAX:
            key, suggestion = (category, attribute, concern, OTHERS), ""
            found = self.by_key.get(key)
        if found is None:
            found = self.by_key[key] = Finding(
                category, attribute, concern, key[3], expected, done, file, suggestion
            )
        found.add(row, times)

    def __iter__(self) -> Iterator[Finding]:
        """The most urgent first, then by category and column, the most frequent first."""
        order = {concern: place for place, concern in enumerate(Concern)}
        columns: dict[tuple[str, str], int] = {}
        for one in self.by_key.values():
            columns.setdefault((one.category, one.attribute), len(columns))
        return iter(
            sorted(
                self.by_key.values(),
                key=lambda one: (
                    order[one.concern],
                    one.category,
                    columns[one.category, one.attribute],
                    -one.count,
                ),
            )
        )

    def counts(self) -> Counter[Concern]:
        """Kind of problem -> how many rows."""
        found: Counter[Concern] = Counter()
        for one in self.by_key.values():
            found[one.concern] += one.count
        return found

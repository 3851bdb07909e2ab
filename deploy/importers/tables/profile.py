"""What the columns of all tables contain, counted in one pass over the files."""

from __future__ import annotations

import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from deploy.importers.tables.files import ReadRow, Table
from deploy.importers.tables.reading import Cell, Form, key_of_text, read_cell

LABELS_MAX = 5_000
LABEL_LENGTH_MAX = 80
_LONG_NUMBER = 10**7
_KEY_NAME = re.compile(
    r"(?:.*[ _.-]|[a-z]+(?=[A-Z]))?"
    r"(?:id|key|sku|code|ean|gtin|upc|isbn|mpn|uuid|nr|no|Id|Key|Sku|Code|ID|SKU|EAN|GTIN)"
    r"|artikelnummer|article number|item number|part number",
)
_PAIR = 2


@dataclass(slots=True)
class Column:
    """One column of one category."""

    category: str
    name: str
    filled: int = 0
    forms: Counter[Form] = field(default_factory=Counter)
    long_numbers: int = 0
    """Whole numbers of eight digits and more, such as an EAN."""
    labels: dict[str, Counter[str]] = field(default_factory=dict)
    """Text without regard to case and spaces -> its spellings; only while they may be options."""
    is_free_text: bool = False
    is_key_by_name: bool = False
    """Whether it is called as keys are, such as `sku`."""
    _seen: set[str] | None = field(default_factory=set)
    """Its texts, as long as none comes twice; only of a column that is called as keys are."""
    lengths: Counter[int] = field(default_factory=Counter)
    """How many numbers the lists have; single numbers at 0."""
    descending: int = 0
    """Lists of two numbers whose first is the larger."""
    numbers: dict[int, array[float]] = field(default_factory=lambda: defaultdict(_floats))
    """Single numbers at 0; of lists, the first at 1, the second at 2 and so on."""

    def __post_init__(self) -> None:
        self.is_key_by_name = _KEY_NAME.fullmatch(self.name) is not None

    @property
    def is_key(self) -> bool:
        """Whether each row has a value of its own, in a column that is called as keys are."""
        return self.is_key_by_name and self._seen is not None and len(self._seen) > 1

    def add(self, cell: Cell) -> None:
        """Count a cell."""
        self.forms[cell.form] += 1
        if self.is_key_by_name and self._seen is not None:
            key = key_of_text(cell.text)
            if not key or key in self._seen:
                self._seen = None
            else:
                self._seen.add(key)
        if cell.form is Form.NOTHING:
            return
        self.filled += 1
        if cell.form is Form.NUMBER:
            self.lengths[0] += 1
            self.numbers[0].append(cell.value)
            self.long_numbers += isinstance(cell.value, int) and cell.value >= _LONG_NUMBER
        elif cell.form is Form.NUMBERS:
            self.lengths[len(cell.value)] += 1
            self.descending += len(cell.value) == _PAIR and cell.value[0] > cell.value[1]
            for place, number in enumerate(cell.value, 1):
                self.numbers[place].append(number)
        texts = cell.value if cell.form is Form.TEXTS else [cell.text]
        for text in texts:
            self._add_label(text)

    def _add_label(self, text: str) -> None:
        if self.is_free_text:
            return
        spellings = self.labels.setdefault(key_of_text(text), Counter())
        spellings[text] += 1
        if len(self.labels) > LABELS_MAX or len(text) > LABEL_LENGTH_MAX:
            self.is_free_text = True
            self.labels.clear()


def _floats() -> array[float]:
    return array("d")


@dataclass(slots=True)
class Profile:
    """The columns by category and name."""

    columns: dict[tuple[str, str], Column] = field(default_factory=dict)

    @classmethod
    def of(cls, tables: tuple[Table, ...]) -> Profile:
        """Read all tables once."""
        found = cls()
        for table in tables:
            for row in table.rows():
                if isinstance(row, ReadRow):
                    found.add(table, row)
        return found

    def add(self, table: Table, row: ReadRow) -> None:
        """Count the cells of a row."""
        for name, raw in row.cells.items():
            key = (table.category, name)
            column = self.columns.get(key)
            if column is None:
                column = self.columns[key] = Column(*key)
            column.add(read_cell(raw, is_typed=table.is_typed, decimal_comma=row.decimal_comma))

    def by_name(self) -> Iterator[list[Column]]:
        """The columns that are called alike, of all categories."""
        groups: dict[str, list[Column]] = defaultdict(list)
        for column in self.columns.values():
            groups[column.name].append(column)
        yield from groups.values()

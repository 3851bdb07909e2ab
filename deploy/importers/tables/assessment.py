"""Goes through all rows once before anything is sent: counts every cell and notes what is wrong."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from deploy.importers.tables.files import BrokenRow, Table
from deploy.importers.tables.findings import Concern, Findings
from deploy.importers.tables.identity import Identity, Products, Titles
from deploy.importers.tables.look_alikes import look_alikes
from deploy.importers.tables.mapping import Fate, MappedRow, Mapper
from deploy.importers.tables.profile import Profile
from deploy.importers.tables.reading import key_of_text
from deploy.importers.tables.suspicions import Watch

NO_NAME = "the row has no name"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that becomes no record."""

    table: Table
    number: int
    why: str
    cells: int = 0


@dataclass(frozen=True, slots=True)
class Product:
    """A row with a name; it becomes a record unless it repeats one."""

    row: MappedRow
    identity: Identity


@dataclass(slots=True)
class Rows:
    """Where the rows of a category went: the three add up to all of them."""

    records: int = 0
    repeated: int = 0
    """Exact duplicates, which are one record with the row before."""
    refused: int = 0
    unreadable: int = 0
    """Those of the refused of which not even the cells are known."""

    @property
    def all(self) -> int:
        """All rows."""
        return self.records + self.repeated + self.refused


@dataclass(slots=True)
class Account:
    """What became of the cells of a column: filled and missing add up to the readable rows."""

    fates: Counter[Fate] = field(default_factory=Counter)
    suspicious: int = 0


@dataclass(slots=True)
class Assessment:
    """The outcome of reading all tables."""

    tables: tuple[Table, ...]
    mapper: Mapper
    findings: Findings = field(default_factory=Findings)
    rows: dict[str, Rows] = field(default_factory=dict)
    accounts: dict[tuple[str, str], Account] = field(default_factory=lambda: defaultdict(Account))
    filled: int = 0
    """Cells of the rows that become records, or are refused although they can be read."""

    def items(self, findings: Findings | None = None) -> Iterator[Product | Refusal]:
        """All rows from the first, exact duplicates too."""
        for table in self.tables:
            products = Products()
            title = self.mapper.titles.get(table.category, "")
            for row in table.rows():
                if isinstance(row, BrokenRow):
                    yield Refusal(table, row.number, row.why)
                    continue
                mapped = self.mapper.row(table, row, findings)
                if not mapped.values or (title and not mapped.title):
                    yield Refusal(table, row.number, NO_NAME, len(mapped.values))
                    continue
                if row.short_by and findings is not None:
                    findings.add(
                        mapped.place,
                        "",
                        Concern.SHORT_ROW,
                        f"{row.short_by} cells fewer than the header has",
                        expected="a cell for each column",
                        done="imported; the last columns count as missing",
                    )
                yield Product(mapped, products.identify(mapped))


def assess(tables: tuple[Table, ...], mapper: Mapper, profile: Profile) -> Assessment:
    """Read all tables once more, and note everything."""
    found = Assessment(tables, mapper)
    watches = {key: Watch.of(column) for key, column in profile.columns.items() if column.lengths}
    alike = _look_alikes(mapper, profile)
    titles: dict[str, Titles] = defaultdict(Titles)
    for table in tables:
        found.rows[table.category] = Rows()
        _note_encoding(found.findings, table)
    for item in found.items(found.findings):
        if isinstance(item, Refusal):
            _note_refusal(found, item)
            continue
        mapped = item.row
        rows = found.rows[mapped.table.category]
        titles[mapped.table.category].add(mapped.title, mapped.number)
        _note_cells(found, mapped, watches, alike)
        if item.identity.is_repeated:
            rows.repeated += 1
        else:
            rows.records += 1
            found.filled += len(mapped.values)
        _note_identity(found, mapped, item.identity)
    for table in tables:
        for title, best, number, times in titles[table.category].spelled_otherwise():
            found.findings.add(
                (table.category, table.file, number),
                mapper.titles[table.category],
                Concern.SAME_NAME,
                title,
                expected="one spelling of each name",
                done="imported as it is",
                suggestion=best,
                times=times,
            )
    return found


def _note_encoding(findings: Findings, table: Table) -> None:
    encoding = table.encoding
    if encoding != "utf-8":
        findings.add(
            (table.category, table.file, 0),
            "",
            Concern.OTHER_ENCODING,
            encoding,
            expected="utf-8",
            done=f"read as {encoding}; look whether letters beyond a to z are right",
        )


def _note_refusal(found: Assessment, refusal: Refusal) -> None:
    table = refusal.table
    rows = found.rows[table.category]
    rows.refused += 1
    found.filled += refusal.cells
    concern = Concern.NO_NAME
    if refusal.why != NO_NAME:
        rows.unreadable += 1
        concern = Concern.BROKEN_ROW if refusal.number else Concern.BROKEN_FILE
    found.findings.add(
        (table.category, table.file, refusal.number),
        "",
        concern,
        refusal.why,
        expected="a row with a name",
        done="refused: correct it in the file and import again",
    )


def _note_cells(
    found: Assessment,
    mapped: MappedRow,
    watches: Mapping[tuple[str, str], Watch],
    alike: Mapping[str, Mapping[str, tuple[str, str]]],
) -> None:
    category = mapped.table.category
    for value in mapped.values:
        name = value.column.name
        account = found.accounts[category, name]
        account.fates[value.fate] += 1
        if value.stored is None:
            continue
        if value.column.type == "number":
            suspicions = list(watches[category, name].look(value.cell))
            account.suspicious += bool(suspicions)
            for one in suspicions:
                found.findings.add(
                    mapped.place,
                    name,
                    one.concern,
                    one.value,
                    expected=one.expected,
                    done="imported as it is",
                )
        elif value.column.type == "option":
            several = value.stored if isinstance(value.stored, list) else [value.stored]
            resembling = alike[value.column.code].keys() & {*several}
            account.suspicious += bool(resembling)
            for label in resembling:
                best, how = alike[value.column.code][label]
                found.findings.add(
                    mapped.place,
                    name,
                    Concern.LOOK_ALIKE,
                    label,
                    expected=f"one option for one meaning; here {how}",
                    done="kept as an option of its own",
                    suggestion=best,
                )


def _note_identity(found: Assessment, mapped: MappedRow, identity: Identity) -> None:
    title = found.mapper.titles.get(mapped.table.category, "")
    if identity.is_repeated:
        found.findings.add(
            mapped.place,
            title,
            Concern.SAME_ROW,
            f"{mapped.title} (as row {identity.first_row})",
            expected="each product once",
            done=f"one record with row {identity.first_row}",
        )
    elif identity.differs:
        found.findings.add(
            mapped.place,
            title,
            Concern.LESS_FILLED if identity.is_less_filled else Concern.SAME_KEY,
            f"{mapped.title} (as row {identity.first_row})",
            expected="each product once",
            done="imported as a record of its own",
            suggestion=f"they differ in {identity.differs}",
        )


def _look_alikes(mapper: Mapper, profile: Profile) -> dict[str, dict[str, tuple[str, str]]]:
    """Attribute -> option -> the more frequent option that it resembles, and how."""
    uses: dict[str, Counter[str]] = {code: Counter() for code in mapper.labels}
    for key, column in profile.columns.items():
        code = mapper.types[key].code
        if code in uses:
            for text, spellings in column.labels.items():
                uses[code][mapper.labels[code][key_of_text(text)]] += spellings.total()
    return {code: look_alikes(counts) for code, counts in uses.items()}

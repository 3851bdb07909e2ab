"""The report for a data steward: `quality.md` to read, `findings.csv` to work off in a spreadsheet.

Every number adds up to the rows that were read: rows = records + exact duplicates + refused; for
each column, readable rows = as expected + cleaned or converted + kept as text + missing.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.importers.names import Names
from deploy.importers.plan import Kind, Problem
from deploy.importers.report import Outcome, Report
from deploy.importers.tables.assessment import Assessment, Product
from deploy.importers.tables.findings import REFUSALS, Concern, Finding, Findings
from deploy.importers.tables.mapping import UNCLEAR, Fate

PAGE, TABLE = "quality.md", "findings.csv"
_EXAMPLES = 5
_ROWS_SHOWN, _ROWS_LISTED, _RECORDS_LISTED = 3, 20, 5
_VALUE_SHOWN, _SUGGESTION_SHOWN = 100, 120
_HEAD = (
    *("problem", "category", "column", "value", "suggestion", "rows", "expected", "done"),
    *("what to do", "file", "places", "records", "decision"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_ADVICE = {
    Concern.BROKEN_FILE: "repair the file, import again",
    Concern.BROKEN_ROW: "repair the row in the file, import again",
    Concern.NO_NAME: "add a name in the file, import again",
    Concern.REFUSED: "the message says what Sigma expects",
    Concern.UNFIT: f"correct the record and empty its `{UNCLEAR}`, or change the column's type",
    Concern.SAME_KEY: "decide whether they are two products; else delete one",
    Concern.LESS_FILLED: "delete the record without the value, if they are one product",
    Concern.SAME_ROW: "nothing to do, unless they differ in what the table does not tell",
    Concern.SAME_NAME: "choose one spelling",
    Concern.WRONG_LETTERS: "correct the text",
    Concern.OTHER_ENCODING: "look at names with accents; save the file as UTF-8 if they are wrong",
    Concern.SHORT_ROW: "look whether the values are in the right columns",
    Concern.OUTLIER: "compare with the maker's data: a unit or a decimal point may be wrong",
    Concern.ZERO: "compare with the maker's data: it may stand for no value",
    Concern.REVERSED: "exchange the two numbers",
    Concern.OTHER_SHAPE: "look what the number means",
    Concern.LOOK_ALIKE: "choose one option, move the records, delete the other",
    Concern.SPELLING: "nothing to do: they are one option now",
    Concern.CONVERTED: "nothing to do, unless the type of the column is wrong",
    Concern.CLEANED: "nothing to do",
    Concern.PLACEHOLDER: "nothing to do: they count as missing",
}


@dataclass(frozen=True, slots=True)
class Quality:
    """What was read of a catalogue."""

    name: str
    assessment: Assessment
    names: Names


def write_quality(folder: Path, quality: Quality, report: Report) -> str:
    """Write both files, and say where they are."""
    findings = _with_refusals(quality.assessment, report)
    folder.mkdir(parents=True, exist_ok=True)
    page = "\n".join(_page(quality, findings, report)) + "\n"
    (folder / PAGE).write_text(page, encoding="utf-8")
    _write_table(folder / TABLE, findings, _codes(quality, findings))
    return f"The report for data stewards is in {folder / PAGE} and {folder / TABLE}"


def _with_refusals(assessment: Assessment, report: Report) -> Findings:
    """The findings of reading, and what the API refused."""
    all_of_them = Findings(dict(assessment.findings.by_key))
    own = {one.value for one in assessment.findings.by_key.values() if one.concern in REFUSALS}
    categories = {table.file: table.category for table in assessment.tables}
    for problem in report.problems:
        if problem.kind is Kind.RECORDS and not problem.code and problem.message in own:
            continue
        _add_refusal(all_of_them, problem, categories.get(problem.file, ""))
    return all_of_them


def _add_refusal(findings: Findings, problem: Problem, category: str) -> None:
    what = f"the {problem.kind.removesuffix('s')} '{problem.source}'"
    done = f"{what} is not there"
    if problem.attribute:
        done = "the record was imported without the value"
    findings.add(
        (category, problem.file, problem.line or 0),
        ", ".join(problem.columns) or problem.attribute,
        Concern.REFUSED,
        problem.value or problem.source,
        expected=f"{problem.code} {problem.message}".strip(),
        done=done,
    )


def _page(quality: Quality, findings: Findings, report: Report) -> Iterator[str]:
    assessment = quality.assessment
    yield f"# Data quality of {_plain(quality.name)}"
    yield ""
    yield from _summary(assessment, report)
    yield from _overview(findings)
    yield from _columns(assessment)
    by_category: dict[str, list[Finding]] = defaultdict(list)
    for one in findings:
        by_category[one.category].append(one)
    for category in sorted({*assessment.rows, *by_category}):
        yield from _section(category, assessment, by_category[category])


def _summary(assessment: Assessment, report: Report) -> Iterator[str]:
    rows = assessment.rows.values()
    read = sum(one.all for one in rows)
    parts = {
        "records": sum(one.records for one in rows),
        "exact duplicates of other rows": sum(one.repeated for one in rows),
        "refused": sum(one.refused for one in rows),
    }
    yield f"{read:,} rows in {_many(len(assessment.tables), 'table')}:"
    yield ""
    yield from _table(
        ("rows", "", "what became of them"),
        [
            (f"{parts['records']:,}", "are a record each", _outcomes(report, assessment)),
            (
                f"{parts['exact duplicates of other rows']:,}",
                "are exact duplicates",
                "one record with the row that came first",
            ),
            (f"{parts['refused']:,}", "were refused", "no record: see below"),
            (f"**{read:,}**", "in all", ""),
        ],
    )
    filled = Counter[Fate]()
    for account in assessment.accounts.values():
        filled += account.fates
    cells = ", ".join(f"{filled[fate]:,} {fate}" for fate in Fate)
    yield f"{filled.total():,} filled cells in the rows that were not refused: {cells}."
    yield ""
    if report.stopped is not None:
        yield f"**The import stopped early**: {_plain(report.stopped)}"
        yield ""


def _outcomes(report: Report, assessment: Assessment) -> str:
    """What came of the records, without the rows that were refused before."""
    counts = Counter(report.outcomes[Kind.RECORDS])
    records = sum(one.records for one in assessment.rows.values())
    own = sum(one.refused for one in assessment.rows.values())
    counts[Outcome.REFUSED] -= min(own, counts[Outcome.REFUSED])
    said = [f"{counts[one]:,} {one}" for one in Outcome if counts[one] > 0]
    rest = records - sum(count for count in counts.values() if count > 0)
    if rest > 0:
        said.append(f"{rest:,} not imported (--limit)")
    return ", ".join(said)


def _overview(findings: Findings) -> Iterator[str]:
    rows, kinds = Counter[Concern](), Counter[Concern]()
    columns: dict[Concern, Counter[str]] = defaultdict(Counter)
    for one in findings:
        rows[one.concern] += one.count
        kinds[one.concern] += 1
        columns[one.concern][f"{one.category} {one.attribute}".strip()] += one.count
    yield "## What to look at, the most urgent first"
    yield ""
    if not rows:
        yield "Nothing was found."
        yield ""
        return
    yield f"Each line of `{TABLE}` is one value of one column with all its rows."
    yield ""
    yield from _table(
        ("problem", "rows", "values", "mostly in", "what to do"),
        [
            (
                concern,
                f"{rows[concern]:,}",
                f"{kinds[concern]:,}",
                ", ".join(f"{name} ({n:,})" for name, n in columns[concern].most_common(3)),
                _ADVICE[concern],
            )
            for concern in Concern
            if rows[concern]
        ],
    )


def _columns(assessment: Assessment) -> Iterator[str]:
    """Columns that are worth a decision as a whole."""
    shares: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for category, name in assessment.mapper.types:
        readable = _readable(assessment, category)
        filled = assessment.accounts[category, name].fates.total()
        if filled < readable / 2:
            share = filled / readable
            shares[name].append((share, f"{category} {100 * share:.0f} %"))
    if not shares:
        return
    yield "## Columns with a value in less than half of the rows"
    yield ""
    for name, some in sorted(shares.items(), key=lambda one: -len(one[1])):
        yield f"- **{_plain(name)}**: {_plain(', '.join(said for _, said in sorted(some)))}"
    yield ""


def _readable(assessment: Assessment, category: str) -> int:
    rows = assessment.rows[category]
    return rows.records + rows.repeated


def _section(category: str, assessment: Assessment, findings: Sequence[Finding]) -> Iterator[str]:
    yield f"## {_plain(category) or 'All categories'}"
    yield ""
    rows = assessment.rows.get(category)
    if rows is not None:
        yield (
            f"{_many(rows.all, 'row')} = {_many(rows.records, 'record')} +"
            f" {_many(rows.repeated, 'exact duplicate')} +"
            f" {rows.refused:,} refused."
        )
        yield ""
    accounts = list(_accounts(category, assessment))
    if accounts:
        readable = _readable(assessment, category)
        yield f"Of the {_many(readable, 'row')} that were not refused:"
        yield ""
        yield from _table(
            ("column", "type", "as expected", "changed", "kept as text", "missing", "suspicious"),
            accounts,
        )
    by_kind: dict[tuple[str, Concern], list[Finding]] = defaultdict(list)
    for one in findings:
        by_kind[one.attribute, one.concern].append(one)
    if not by_kind:
        return
    for (attribute, concern), some in by_kind.items():
        yield from _paragraph(attribute, concern, sorted(some, key=lambda one: -one.count))
    yield ""


def _paragraph(attribute: str, concern: Concern, findings: Sequence[Finding]) -> Iterator[str]:
    """A kind of problem of one column, with examples."""
    first = findings[0]
    where = f"**{_plain(attribute)}**, " if attribute else ""
    rows = _many(sum(one.count for one in findings), "row")
    yield f"- {where}{concern}: {rows}. Expected {_plain(first.expected)}; {_done(findings)}."
    yield from (f"  - {_example(one)}" for one in findings[:_EXAMPLES])
    if len(findings) > _EXAMPLES:
        yield f"  - and {_many(len(findings) - _EXAMPLES, 'other value')}: see `{TABLE}`"


def _done(findings: Sequence[Finding]) -> str:
    done = {one.done for one in findings}
    return _plain(findings[0].done) if len(done) == 1 else f"for example {_plain(findings[0].done)}"


def _accounts(category: str, assessment: Assessment) -> Iterator[Sequence[str]]:
    for (one, name), column in assessment.mapper.types.items():
        if one != category:
            continue
        account = assessment.accounts[category, name]
        missing = _readable(assessment, category) - account.fates.total()
        kind = f"{column.type}, several" if column.several else column.type
        fates = [f"{account.fates[fate]:,}" for fate in Fate]
        yield (name, kind, *fates, f"{missing:,}", f"{account.suspicious:,}")


def _example(one: Finding) -> str:
    # On one line: behind a line break, it would be no example but a part of the page.
    value = " ".join(one.value.split())
    value = value if len(value) <= _VALUE_SHOWN else value[:_VALUE_SHOWN] + "…"
    said = f"`{value.replace('`', chr(39))}`"
    if one.suggestion:
        said += f": {_plain(one.suggestion[:_SUGGESTION_SHOWN])}"
    times = f"{one.count:,} times, " if one.count > 1 else ""
    rows = _rows(one, _ROWS_SHOWN)
    return f"{said} ({times}{rows})" if rows else said


def _rows(one: Finding, shown: int) -> str:
    rows = [str(row) for row in one.rows[:shown] if row]
    if not rows:
        return ""
    more = " …" if one.count > len(rows) else ""
    return ("row " if one.count == 1 else "rows ") + ", ".join(rows) + more


def _codes(quality: Quality, findings: Findings) -> dict[tuple[str, int], str]:
    """File and row -> the external key of the record, for the rows that are told of."""
    told = {(one.file, row) for one in findings for row in one.rows[:_RECORDS_LISTED]}
    found: dict[tuple[str, int], str] = {}
    for item in quality.assessment.items():
        if isinstance(item, Product) and (item.row.table.file, item.row.number) in told:
            code = quality.names.external_key(item.identity.code)
            found[item.row.table.file, item.row.number] = code or item.identity.code
    return found


def _records_of(one: Finding, codes: Mapping[tuple[str, int], str]) -> Iterator[str]:
    for row in one.rows[:_RECORDS_LISTED]:
        if (one.file, row) in codes:
            yield codes[one.file, row]


def _write_table(path: Path, findings: Findings, codes: Mapping[tuple[str, int], str]) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_HEAD)
        for one in findings:
            places = " ".join(str(row) for row in one.rows[:_ROWS_LISTED] if row)
            more = one.count - min(len(one.rows), _ROWS_LISTED)
            cells = (
                *(one.concern, one.category, one.attribute, one.value, one.suggestion, one.count),
                *(one.expected, one.done, _ADVICE[one.concern], one.file),
                f"{places} and {more} more" if more else places,
                " ".join(_records_of(one, codes)),
                "",
            )
            writer.writerow([_safe(cell) for cell in cells])


def _safe(cell: object) -> object:
    """A text that no spreadsheet takes for a formula."""
    if isinstance(cell, str) and cell.startswith(_FORMULA):
        return f"'{cell}"
    return cell


def _table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    names = list(head)
    yield f"| {' | '.join(names)} |"
    yield "|" + "---|" * len(names)
    for row in rows:
        yield f"| {' | '.join(_cell(text) for text in row)} |"
    yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;")


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"

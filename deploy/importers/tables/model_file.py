"""The types of the columns as a CSV file that people can correct in a spreadsheet.

    category,column,attribute,type,several,key
    lamp,price,price,number,no,no
    lamp,colour,colour,option,no,yes

`attribute` is what it becomes: columns with the same one share it. A row whose `key` is no takes no
part in telling two products apart.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import get_args

from deploy.importers.csv_rows import UnreadableCatalogue, read_rows
from deploy.importers.tables.inference import ColumnType, Type, Types

_HEADER = ("category", "column", "attribute", "type", "several", "key")
_YES_NO = {"yes": True, "no": False}


def write_model(path: Path, types: Types) -> None:
    """All columns, for a spreadsheet."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_HEADER)
        for one in types.values():
            several, in_key = (_word(flag) for flag in (one.several, one.in_key))
            writer.writerow((one.category, one.name, one.code, one.type, several, in_key))


def read_model(path: Path) -> Types:
    """What such a file says, or `UnreadableCatalogue` with the line."""
    found: Types = {}
    for row in read_rows(path):
        missing = [name for name in _HEADER if not row.get(name)]
        if missing:
            raise UnreadableCatalogue(f"{path} line {row.line} has no {', '.join(missing)}")
        kind = row.get("type")
        if kind not in get_args(Type):
            raise UnreadableCatalogue(
                f"{path} line {row.line}: type '{kind[:60]}' is none of {', '.join(get_args(Type))}"
            )
        flags = []
        for name in ("several", "key"):
            if row.get(name) not in _YES_NO:
                raise UnreadableCatalogue(
                    f"{path} line {row.line}: {name} must be yes or no, not '{row.get(name)[:60]}'"
                )
            flags.append(_YES_NO[row.get(name)])
        key = (row.get("category"), row.get("column"))
        if key in found:
            raise UnreadableCatalogue(f"{path} line {row.line} repeats column '{key[1][:60]}'")
        found[key] = ColumnType(*key, row.get("attribute"), kind, *flags)  # type: ignore[arg-type]
    _check_agreement(path, found)
    return found


def _check_agreement(path: Path, types: Types) -> None:
    """Columns that share an attribute share its type."""
    shapes: dict[str, tuple[str, bool]] = {}
    for one in types.values():
        shape = shapes.setdefault(one.code, (one.type, one.several))
        if shape != (one.type, one.several):
            raise UnreadableCatalogue(
                f"{path}: columns of attribute '{one.code[:60]}' differ in type or several"
            )


def _word(flag: bool) -> str:
    return "yes" if flag else "no"

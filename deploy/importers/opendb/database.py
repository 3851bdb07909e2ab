"""Reads the schemas, and once all records to see what they use besides."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from deploy.importers.csv_rows import UnreadableCatalogue
from deploy.importers.opendb.fields import Field, add_undeclared, fields_of, value_of

SCHEMAS, PRODUCTS = "schemas", "products"
_ENDING = ".schema.json"
_OWN = ("_category", "_file")
"""What the packing added to each line."""


@dataclass(slots=True)
class Database:
    """The categories with their fields; `lines` reads the records."""

    folder: Path
    categories: dict[str, dict[str, Field]]
    records: int = 0
    filled: int = 0
    notes: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> Database:
        """The schemas and a survey of the records, or `UnreadableCatalogue`."""
        categories = {}
        for path in sorted((folder / SCHEMAS).glob(f"*{_ENDING}")):
            try:
                schema = orjson.loads(path.read_bytes())
            except ValueError as error:
                raise UnreadableCatalogue(f"{path} is not JSON: {error}") from error
            categories[path.name.removesuffix(_ENDING)] = fields_of(schema)
        if not categories:
            raise UnreadableCatalogue(f"{folder / SCHEMAS} has no *{_ENDING}")
        database = cls(folder, categories)
        undeclared: dict[str, None] = {}
        for category, _, _, record in database.lines():
            fields = categories[category]
            for path_ in add_undeclared(fields, record, ""):
                undeclared[f"{category}.{path_}"] = None
            database.records += 1
            database.filled += sum(
                value_of(fields[name], part) is not None
                for name, part in record.items()
                if name in fields
            )
        if undeclared:
            database.notes.append(
                f"Used and in no schema, so imported as found: {', '.join(undeclared)}"
            )
        return database

    def lines(self) -> Iterator[tuple[str, str, int, dict[str, Any]]]:
        """Category, key, line and content of each record."""
        for category in self.categories:
            path = self.folder / PRODUCTS / f"{category}.jsonl.gz"
            if not path.is_file():
                continue
            with gzip.open(path) as file:
                for number, line in enumerate(file, 1):
                    try:
                        record = orjson.loads(line)
                        key = record["_file"].removesuffix(".json")
                    except (ValueError, KeyError, TypeError, AttributeError) as error:
                        raise UnreadableCatalogue(
                            f"{path} line {number} is no record: {error}"
                        ) from error
                    yield category, key, number, {k: v for k, v in record.items() if k not in _OWN}

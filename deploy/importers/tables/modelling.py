"""Plans option lists, attributes and schemas for the columns, and the records of the rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from deploy.importers.csv_rows import UnreadableCatalogue
from deploy.importers.labelled_options import labelled_options
from deploy.importers.names import Names
from deploy.importers.plan import Entry, Kind, ModelObject, Problem, RecordPlan, RefusedRow
from deploy.importers.tables.assessment import Assessment, Refusal
from deploy.importers.tables.inference import ColumnType, Types
from deploy.importers.tables.mapping import UNCLEAR, MappedRow
from deploy.importers.tables.profile import Profile

_NAME_LENGTH_MAX = 255


def options_of(types: Types, profile: Profile) -> dict[str, dict[str, str]]:
    """Attribute -> text without regard to case and spaces -> its most frequent spelling."""
    spellings: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for key, column in profile.columns.items():
        if types[key].type != "option":
            continue
        if column.is_free_text:
            raise UnreadableCatalogue(
                f"column '{column.name}' of {column.category} has too many or too long texts for"
                f" options: its type must be text"
            )
        for text, found in column.labels.items():
            spellings[types[key].code][text] += found
        spellings.setdefault(types[key].code, {})
    return {
        code: {text: max(sorted(found), key=found.__getitem__) for text, found in texts.items()}
        for code, texts in spellings.items()
    }


@dataclass(frozen=True, slots=True)
class Modelling:
    """The model, and how records name its parts."""

    assessment: Assessment
    names: Names

    def objects(self) -> Iterator[ModelObject]:
        """In the order in which they must be created."""
        types = self.assessment.mapper.types
        by_code = {one.code: one for one in types.values()}
        for code, labels in self.assessment.mapper.labels.items():
            yield ModelObject(Kind.OPTION_LISTS, code, self._list(code, [*labels.values()]))
        for code, one in by_code.items():
            yield ModelObject(Kind.ATTRIBUTES, code, self._attribute(code, one))
        yield ModelObject(Kind.ATTRIBUTES, UNCLEAR, self._unclear())
        categories: dict[str, list[str]] = defaultdict(list)
        for one in types.values():
            categories[one.category].append(self.names.attribute(one.code))
        for category, attributes in categories.items():
            body = {
                "id": self.names.schema(category),
                **self._naming(category, category),
                "variantEnabled": False,
                "attributeGroups": [
                    {
                        "id": self.names.group(category, "all"),
                        "name": category[:_NAME_LENGTH_MAX],
                        "attributeIds": [
                            *dict.fromkeys(attributes),
                            self.names.attribute(UNCLEAR),
                        ],
                    }
                ],
            }
            yield ModelObject(Kind.SCHEMAS, category, body)

    def records(self) -> Iterator[RecordPlan | RefusedRow]:
        """One for each row but exact duplicates."""
        for item in self.assessment.items():
            if isinstance(item, Refusal):
                problem = Problem(
                    Kind.RECORDS,
                    item.table.category,
                    item.why,
                    file=item.table.file,
                    line=item.number or None,
                )
                yield RefusedRow(problem, item.cells)
            elif not item.identity.is_repeated:
                yield self._record(item.row, item.identity.code)

    def _record(self, mapped: MappedRow, code: str) -> RecordPlan:
        values: dict[str, tuple[Entry, ...]] = {}
        unclear: list[str] = []
        unclear_columns: list[str] = []
        for one in mapped.values:
            alias = self.names.alias(one.column.code)
            if one.stored is None:
                unclear.append(f"{one.column.name}: {one.cell.text}")
                unclear_columns.append(one.column.name)
            else:
                stored = self._with_option_ids(one.column, one.stored)
                values[alias] = (Entry({}, stored, (one.column.name,)),)
        if unclear:
            entry = Entry({}, unclear, tuple(unclear_columns))
            values[self.names.alias(UNCLEAR)] = (entry,)
        return RecordPlan(
            id=self.names.record(code),
            source=code,
            line=mapped.number,
            schema_id=self.names.schema(mapped.table.category),
            values=values,
            external_key=self.names.external_key(code),
            file=mapped.table.file,
        )

    def _with_option_ids(self, column: ColumnType, stored: Any) -> Any:
        if column.type != "option":
            return stored
        if isinstance(stored, list):
            return [self.names.option(column.code, label) for label in stored]
        return self.names.option(column.code, stored)

    def _list(self, code: str, labels: list[str]) -> dict[str, Any]:
        return {
            "id": self.names.option_list(code),
            **self._naming(code, _words(code)),
            "hierarchical": False,
            "values": labelled_options(self.names, code, sorted(labels, key=str.casefold)),
        }

    def _attribute(self, code: str, one: ColumnType) -> dict[str, Any]:
        body: dict[str, Any] = {
            "id": self.names.attribute(code),
            **self._naming(code, _words(one.name)),
            "type": one.type,
            "dimensionIds": [],
            "multiple": one.several,
            "validation": {},
        }
        if one.type == "option":
            body["optionListId"] = self.names.option_list(code)
        return body

    def _unclear(self) -> dict[str, Any]:
        return {
            "id": self.names.attribute(UNCLEAR),
            **self._naming(UNCLEAR, "Unclear values"),
            "description": "What a table said and its column could not take, as text",
            "type": "text",
            "dimensionIds": [],
            "multiple": True,
            "validation": {},
        }

    def _naming(self, code: str, name: str) -> dict[str, Any]:
        return {
            "alias": self.names.alias(code),
            "name": name[:_NAME_LENGTH_MAX],
            "externalKey": self.names.external_key(code),
        }


def _words(code: str) -> str:
    """A code as people read it: `Price per gb`."""
    words = code.replace("_", " ").strip() or code
    return words[:1].upper() + words[1:]

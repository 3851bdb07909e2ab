"""Plans schemas, attributes and option lists, and the records with them.

Properties that are the same in all categories are one attribute; where categories differ, each has
its own, called `<Category>.<property>`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from deploy.importers.labelled_options import labelled_options
from deploy.importers.names import Names
from deploy.importers.opendb.database import PRODUCTS, Database
from deploy.importers.opendb.fields import Field, value_of
from deploy.importers.plan import Entry, Kind, ModelObject, RecordPlan, RefusedRow

_NAME_LENGTH_MAX = 255


class Modelling:
    """The model, and how records name its parts."""

    def __init__(self, database: Database, names: Names) -> None:
        self.database, self.names = database, names
        shapes: dict[str, set[str]] = defaultdict(set)
        for fields in database.categories.values():
            for name, one in fields.items():
                shapes[name].add(one.shape)
        self.codes = {
            (category, name): name if len(shapes[name]) == 1 else f"{category}.{name}"
            for category, fields in database.categories.items()
            for name in fields
        }
        """(category, property) -> what its attribute is called."""

    def objects(self) -> Iterator[ModelObject]:
        """In the order in which they must be created."""
        attributes: dict[str, Field] = {}
        for category, fields in self.database.categories.items():
            for name, one in fields.items():
                attributes.setdefault(self.codes[category, name], one)
        for code, one in attributes.items():
            yield from self._lists(code, one)
        for code, one in attributes.items():
            body = {
                "id": self.names.attribute(code),
                "dimensionIds": [],
                "externalKey": self.names.external_key(code),
                **self._body(code, one),
                "alias": self.names.alias(code),
            }
            yield ModelObject(Kind.ATTRIBUTES, code, body)
        for category, fields in self.database.categories.items():
            body = {
                "id": self.names.schema(category),
                "alias": self.names.alias(category),
                "name": category,
                "externalKey": self.names.external_key(category),
                "variantEnabled": False,
                "attributeGroups": [
                    {
                        "id": self.names.group(category, "all"),
                        "name": category,
                        "attributeIds": [
                            self.names.attribute(self.codes[category, name]) for name in fields
                        ],
                    }
                ],
            }
            yield ModelObject(Kind.SCHEMAS, category, body)

    def records(self) -> Iterator[RecordPlan | RefusedRow]:
        """One for each line."""
        for category, key, line, content in self.database.lines():
            yield RecordPlan(
                id=self.names.record(key),
                source=key,
                line=line,
                schema_id=self.names.schema(category),
                values=self.values(category, content),
                external_key=self.names.external_key(key),
                file=f"{PRODUCTS}/{category}.jsonl.gz",
            )

    def values(self, category: str, content: dict[str, Any]) -> dict[str, tuple[Entry, ...]]:
        """By alias, as the API takes them."""
        found: dict[str, tuple[Entry, ...]] = {}
        for name, part in content.items():
            one = self.database.categories[category].get(name)
            value = part if one is None else value_of(one, part)
            if value is None:
                continue
            code = self.codes.get((category, name), name)
            if one is not None:
                value = self._with_option_ids(code, one, value)
            found[self.names.alias(code)] = (Entry({}, value, (name,)),)
        return found

    def _with_option_ids(self, code: str, one: Field, value: Any) -> Any:
        if isinstance(value, list):
            return [self._with_option_ids(code, one, element) for element in value]
        if one.type == "option" and value in one.options:
            return self.names.option(code, value)
        if one.type == "complex" and isinstance(value, dict):
            return {
                name: self._with_option_ids(f"{code}.{name}", one.fields[name], part)
                if name in one.fields
                else part
                for name, part in value.items()
            }
        return value

    def _lists(self, code: str, one: Field) -> Iterator[ModelObject]:
        if one.type == "option":
            body = {
                "id": self.names.option_list(code),
                "alias": self.names.alias(code),
                "name": code,
                "hierarchical": False,
                "values": labelled_options(self.names, code, one.options),
            }
            yield ModelObject(Kind.OPTION_LISTS, code, body)
        for name, inner in one.fields.items():
            yield from self._lists(f"{code}.{name}", inner)

    def _body(self, code: str, one: Field) -> dict[str, Any]:
        body: dict[str, Any] = {
            "alias": Names().alias(one.name),
            "name": one.name[:_NAME_LENGTH_MAX],
            "type": one.type,
            "multiple": one.multiple,
            "validation": {"required": True} if one.required else {},
        }
        if one.type == "option":
            body["optionListId"] = self.names.option_list(code)
        if one.fields:
            body["attributes"] = [
                self._body(f"{code}.{name}", inner) for name, inner in one.fields.items()
            ]
        return body

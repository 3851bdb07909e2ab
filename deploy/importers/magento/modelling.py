"""Plans the model of a Magento export: option lists, attributes, schemas, a catalog, categories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from deploy.importers.labelled_options import labelled_options
from deploy.importers.magento.columns import IMAGE_LIST, INPUTS, SKU, type_of_column
from deploy.importers.magento.survey import Declared, Survey
from deploy.importers.names import Names
from deploy.importers.plan import Kind, ModelObject


class Modelling:
    """The model, and how the products name its parts."""

    def __init__(self, found: Survey, names: Names) -> None:
        self.found, self.names = found, names
        self.notes: list[str] = []
        self.options = {
            code: {**one.options, **found.used_options.get(code, {})}
            for code, one in found.declared.items()
            if INPUTS.get(one.input) == "option"
        }
        """Attribute -> label in lower case -> label."""
        used = dict.fromkeys(code for codes in found.sets.values() for code in codes)
        self.codes = tuple(dict.fromkeys([SKU, *used, *found.declared]))

    def objects(self) -> list[ModelObject]:
        """In the order in which they must be created."""
        for code, options in self.found.used_options.items():
            self.notes.append(
                f"Attribute '{code}' got {len(options)} options that products use and no file"
                f" declares: {', '.join(options.values())}"
            )
        return [
            *self._lists(),
            *(self._attribute(code) for code in self.codes),
            *self._schemas(),
            *self._categories(),
        ]

    def type_of(self, code: str) -> str:
        """Sigma's type of an attribute."""
        declared = self.found.declared.get(code)
        return type_of_column(code) if declared is None else INPUTS.get(declared.input, "text")

    def is_multiple(self, code: str) -> bool:
        """Whether it holds several values."""
        declared = self.found.declared.get(code)
        return code == IMAGE_LIST or (declared is not None and declared.input == "multiselect")

    def category(self, path: tuple[str, ...]) -> str:
        """The id of a category by its path; an empty text for the root, which is the catalog."""
        return self.names.category("/".join(path)) if len(path) > 1 else ""

    def _lists(self) -> Iterator[ModelObject]:
        for code, options in self.options.items():
            body = {
                "id": self.names.option_list(code),
                **self._naming(code, self.found.declared[code].label),
                "hierarchical": False,
                "values": labelled_options(self.names, code, options.values()),
            }
            yield ModelObject(Kind.OPTION_LISTS, code, body)

    def _attribute(self, code: str) -> ModelObject:
        declared = self.found.declared.get(code)
        kind = self.type_of(code)
        label = code.replace("_", " ").capitalize() if declared is None else declared.label
        body: dict[str, Any] = {
            "id": self.names.attribute(code),
            **self._naming(code, "SKU" if code == SKU else label),
            "type": kind,
            "dimensionIds": [],
            "multiple": self.is_multiple(code),
            "inheritable": code != SKU,
            "validation": _rules(code, declared, kind),
        }
        if kind == "option":
            body["optionListId"] = self.names.option_list(code)
        return ModelObject(Kind.ATTRIBUTES, code, body)

    def _schemas(self) -> Iterator[ModelObject]:
        for code, used in self.found.sets.items():
            own = [one for one in used if one in self.found.declared]
            other = [one for one in used if one not in self.found.declared and one != SKU]
            groups = (("product", "Product", [SKU, *own]), ("magento", "Magento", other))
            body = {
                "id": self.names.schema(code),
                **self._naming(code, code),
                "description": f"Magento attribute set {code}",
                "variantEnabled": code in self.found.with_variants,
                "attributeGroups": [
                    {
                        "id": self.names.group(code, group),
                        "name": name,
                        "sortOrder": place,
                        "attributeIds": [self.names.attribute(one) for one in codes],
                    }
                    for place, (group, name, codes) in enumerate(groups)
                ],
            }
            yield ModelObject(Kind.SCHEMAS, code, body)

    def _categories(self) -> Iterator[ModelObject]:
        for path in self.found.paths:
            if len(path) == 1:
                body: Mapping[str, Any] = {
                    "id": self.names.catalog(path[0]),
                    **self._naming(path[0], path[0]),
                }
                yield ModelObject(Kind.CATALOGS, path[0], body)
        for place, path in enumerate(self.found.paths):
            if len(path) > 1:
                source = "/".join(path)
                body = {
                    "id": self.category(path),
                    "catalogId": self.names.catalog(path[0]),
                    "parentId": self.category(path[:-1]) or None,
                    "sortOrder": place,
                    **self._naming(source, path[-1]),
                }
                yield ModelObject(Kind.CATEGORIES, source, body)

    def _naming(self, code: str, name: str) -> dict[str, Any]:
        return {
            "alias": self.names.alias(code),
            "name": name,
            "externalKey": self.names.external_key(code),
        }


def _rules(code: str, declared: Declared | None, kind: str) -> dict[str, Any]:
    if code == SKU:
        return {"required": True, "unique": True}
    is_unique = declared is not None and declared.is_unique and kind in ("text", "number")
    return {"unique": True} if is_unique else {}

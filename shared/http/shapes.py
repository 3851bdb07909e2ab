"""Base classes of the models for request bodies and answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue


class Shape(BaseModel):
    """A model whose fields are described by the strings below them."""

    model_config = ConfigDict(use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True)
class DescribedAs:
    """In `Annotated`: described as another type than the one that is read.

    For what a feature checks itself, because its own messages say more, or because a model for each
    value would be slow.
    """

    kind: Any

    def __get_pydantic_json_schema__(
        self, _read: Any, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The schema of the other type; a reference where that has a name."""
        # As the items of a list, because a type at the top is spelled out.
        items = TypeAdapter(list[self.kind])  # type: ignore[name-defined]
        return dict(handler(items.core_schema)["items"])

"""Base classes of the models for request bodies and answers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Final

import pydantic
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    TypeAdapter,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import InitErrorDetails, PydanticCustomError

UNKNOWN_FIELD: Final = "unknown_field"
"""The type of pydantic's error for a field that a `Closed` model does not know."""
_UNKNOWN_TOLD_MAX: Final = 20


class Shape(BaseModel):
    """A model whose fields are described by the strings below them."""

    model_config = ConfigDict(use_attribute_docstrings=True)


def _described_as_closed(schema: dict[str, Any], model: type[Any]) -> None:
    if not model.sent_back:
        schema["additionalProperties"] = False


class Closed(Shape):
    """A model that refuses fields it does not know: a misspelt one would do something else.

    Not for objects of the data model: clients send those back with all that an answer has.
    """

    sent_back: ClassVar[frozenset[str]] = frozenset()
    """What only answers have. It is ignored, so that an answer may be sent back."""
    public_names: ClassVar[tuple[str, ...]] = ()
    """The fields by the names that the description has, in its order."""
    model_config = ConfigDict(json_schema_extra=_described_as_closed)

    _known: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        cls.public_names = names_of(cls)
        also = cls.model_fields if cls.model_config.get("populate_by_name") else ()
        cls._known = frozenset({*cls.public_names, *also, *cls.sent_back})

    @model_validator(mode="before")
    @classmethod
    def _check_known(cls, sent: Any) -> Any:
        if isinstance(sent, dict) and not sent.keys() <= cls._known:
            known = {"known": cls.public_names}
            fault = PydanticCustomError(UNKNOWN_FIELD, "unknown field", known)
            unknown = (name for name in sent if name not in cls._known)
            raise pydantic.ValidationError.from_exception_data(
                cls.__name__,
                [
                    InitErrorDetails(type=fault, loc=(name,), input=None)
                    for name in islice(unknown, _UNKNOWN_TOLD_MAX)
                ],
            )
        return sent


def names_of(model: type[BaseModel]) -> tuple[str, ...]:
    """The names by which the fields of a model are sent, in the order of the model."""
    names: list[str] = []
    for field, info in model.model_fields.items():
        choices = info.validation_alias
        if isinstance(choices, AliasChoices):
            names += [str(each) for each in choices.choices]
        else:
            names.append(info.alias or field)
    return tuple(names)


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

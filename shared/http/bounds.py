"""Limits on the number of members of a list or object, checked before the members are validated.

Pydantic validates every member before it counts them, and creates an error for each invalid one: a
megabyte of invalid members would cost seconds. `AtMost` counts first and validates members in
slices; it stops at the first slice with an invalid member:

    values: Annotated[list[OptionValueDraft], AtMost(10_000)]
    scope: Annotated[dict[str, str], AtMost(50)]

Other threads can run between two slices; a single call for all members would block them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import pydantic
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

SLICE: Final = 100


@dataclass(frozen=True, slots=True)
class AtMost:
    """The maximum number of members of a list or an object: `maxItems` or `maxProperties`.

    Errors are reported for the first slice of a hundred members that contains an invalid one.
    Members are validated as Python values, so a member that is an enumeration must be
    `Field(strict=False)`.
    """

    members: int

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Wrap the schema of the list or object that this annotates."""
        inner: Any = handler(source)
        if inner["type"] not in ("list", "dict"):
            raise TypeError(f"AtMost is for a list or an object, not for {inner['type']}")
        inner["max_length"] = self.members
        return core_schema.no_info_wrap_validator_function(self._read, inner)

    def _read(self, value: Any, read: core_schema.ValidatorFunctionWrapHandler) -> Any:
        if not isinstance(value, (list, dict)):
            return read(value)
        if len(value) > self.members:
            raise PydanticKnownError(
                "too_long",
                {
                    "field_type": "List" if isinstance(value, list) else "Dictionary",
                    "max_length": self.members,
                    "actual_length": len(value),
                },
            )
        if len(value) <= SLICE:
            return read(value)
        return _read_list(value, read) if isinstance(value, list) else _read_dict(value, read)


def _read_list(value: list[Any], read: core_schema.ValidatorFunctionWrapHandler) -> list[Any]:
    members: list[Any] = []
    for start in range(0, len(value), SLICE):
        try:
            members += read(value[start : start + SLICE])
        except pydantic.ValidationError:
            if start == 0:
                raise
            # Validate again from the beginning, to get the places of the errors.
            return list(read(value[: start + SLICE]))
    return members


def _read_dict(
    value: dict[str, Any], read: core_schema.ValidatorFunctionWrapHandler
) -> dict[str, Any]:
    members: dict[str, Any] = {}
    items = iter(value.items())
    while part := dict(islice(items, SLICE)):
        members.update(read(part))
    return members

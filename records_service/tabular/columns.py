"""Names of columns: an attribute, alone or with the scope of its values.

    product-name                                        the attribute, everywhere
    product-name[dim-language=seg-da]                   the attribute, in one scope
    price[dim-market=seg-dk,dim-language=seg-en]        a scope of several dimensions

Source of the rule: the page about importing and exporting.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

ID_COLUMN: Final = "_id"
SCHEMA_COLUMN: Final = "schemaId"
STATE_COLUMN: Final = "lifecycleStateId"
KEY_COLUMN: Final = "_externalKey"
VARIANT_COLUMN: Final = "_variantId"
PARENT_COLUMN: Final = "_parentId"
"""Id of the variant above, or of the record for a variant on the first level."""
CATEGORIES_COLUMN: Final = "_categories"
"""All categories of the record, several separated by a vertical bar."""
FIXED_COLUMNS: Final = (
    ID_COLUMN,
    VARIANT_COLUMN,
    PARENT_COLUMN,
    SCHEMA_COLUMN,
    STATE_COLUMN,
    KEY_COLUMN,
    CATEGORIES_COLUMN,
)
"""What is no attribute; an attribute with such an alias goes by its id."""

_NAME: Final = re.compile(r"([^\[\]]+)\[([^\[\]]*)\]")


class UnusableColumn(Exception):
    """The scope in the name of a column cannot be read; the text says why."""


def column_name(name: str, scope: Mapping[str, str]) -> str:
    """The name of the column with the values of an attribute in a scope."""
    if not scope:
        return name
    return f"{name}[{','.join(f'{dimension}={segment}' for dimension, segment in scope.items())}]"


def parse_column(column: str) -> tuple[str, dict[str, str] | None]:
    """The attribute that a column names, and its scope, None where the column names none.

    Raises `UnusableColumn`.
    """
    found = _NAME.fullmatch(column)
    if found is None:
        return column, None
    scope: dict[str, str] = {}
    for part in found[2].split(","):
        dimension, equals, segment = (each.strip() for each in part.partition("="))
        if not (dimension and equals and segment):
            raise UnusableColumn(
                "A scope in the name of a column is written [dimension=segment,...]"
            )
        if dimension in scope:
            raise UnusableColumn("The scope of a column names a dimension twice")
        scope[dimension] = segment
    return found[1].strip(), scope

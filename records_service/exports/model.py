"""What is asked of an export, and what a JSON export answers."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypeAliasType

from shared.http.shapes import Shape

SCOPE_LENGTH_MAX = 10_000


class Format(StrEnum):
    """The format of an export."""

    JSON = "json"
    CSV = "csv"
    NDJSON = "ndjson"
    XLSX = "xlsx"


class Columns(StrEnum):
    """How values of several scopes become columns."""

    RESOLVED = "resolved"
    PER_SCOPE = "perScope"


class ExportQuery(Shape):
    """Which records to export, and in which form."""

    format: Annotated[Format, Field(strict=False)] | None = None
    """The format. Default: what `Accept` names, otherwise `json`."""
    schema_id: str | None = Field(default=None, alias="schemaId")
    """Only records of this schema (id or alias)."""
    catalog_id: str | None = Field(default=None, alias="catalogId")
    """Only records that are assigned to a category of this catalog (id or alias), each once."""
    lifecycle_state_id: str | None = Field(default=None, alias="lifecycleStateId")
    """Only records in this lifecycle state (id or alias)."""
    scope: Annotated[str, Field(max_length=SCOPE_LENGTH_MAX)] | None = Field(
        default=None, examples=['{"dim-language":"seg-da"}']
    )
    """A scope as a JSON object: one column for each attribute, with the value that applies there.
    Dimensions that are not named stand at their default segments."""
    columns: Annotated[Columns, Field(strict=False)] | None = None
    """`resolved`: one column for each attribute, with the value that applies in `scope`.
    `perScope`: one column for each scope of an attribute, named like `price[dim-market=seg-dk]`,
    and the categories of each record; such an export can be imported again without a change.
    Default for CSV and XLSX, and with a scope: `resolved`. JSON and NDJSON without a scope have
    whole records."""
    variants: bool = False
    """Whether each record is followed by its variants. In flat rows, `_variantId` and `_parentId`
    name the variant and what is above it. `resolved` has what holds for it, `perScope` what it
    stores, and the whole variant stands in JSON without `columns` and `scope`."""
    bom: bool = False
    """Whether a CSV file begins with a byte order mark, by which spreadsheets recognise UTF-8."""


ExportedRecord = TypeAliasType(
    "ExportedRecord",
    Annotated[
        dict[str, Any],
        Field(
            description="A record, as a list of records shows it, with its `version`, and with the"
            " ids of its categories as `_categories` if it is in some. With `scope` or `columns`,"
            " a flat row: `_id`, `schemaId`, `lifecycleStateId` and one member for each column."
        ),
    ],
)

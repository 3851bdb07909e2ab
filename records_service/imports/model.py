"""What imports are sent and what they answer."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field
from typing_extensions import TypeAliasType

from shared.http.bounds import AtMost
from shared.http.shapes import Closed, DescribedAs, Shape

ROWS_MAX: Final = 10_000
COLUMNS_MAX: Final = 16_384
NAME_MAX: Final = 1_000

ColumnMapping = TypeAliasType(
    "ColumnMapping",
    Annotated[
        dict[str, Annotated[str, Field(max_length=NAME_MAX)] | None],
        AtMost(COLUMNS_MAX),
        Field(description="Column -> what it means.", examples=[{"Name": "product-name"}]),
    ],
)
ImportRow = TypeAliasType(
    "ImportRow",
    Annotated[
        dict[str, str | int | float | bool | None],
        Field(description="A row: column -> cell.", examples=[{"Name": "Cord jacket"}]),
    ],
)
SentRow = Annotated[dict[str, Any], AtMost(COLUMNS_MAX), DescribedAs(ImportRow)]


UnmappedColumns = TypeAliasType(
    "UnmappedColumns",
    Annotated[
        list[str],
        Field(
            description="The first 100 columns that are not imported, because they are neither"
            " mapped (null says so on purpose) nor named like an attribute.",
            examples=[["Color name"]],
        ),
    ],
)


class ImportAction(StrEnum):
    """What a row does."""

    CREATE = "create"
    UPDATE = "update"


class ImportRows(Closed):
    """Rows to import, each a map of column names to cells."""

    model_config = ConfigDict(populate_by_name=True)

    rows: Annotated[
        list[SentRow],
        AtMost(ROWS_MAX),
        Field(examples=[[{"Name": "Cord jacket", "Price": "899"}]]),
    ]
    """The rows. Cells are texts, converted by the type of their attribute; an empty one changes
    nothing, `\\N` clears a value. With `_id` a row updates this record, without it creates one."""
    schema_id: str = Field(alias="schemaId", examples=["schema-apparel"])
    """Id or alias of the schema."""
    column_mapping: ColumnMapping = Field(default_factory=dict, alias="columnMapping")
    """Column -> alias of an attribute, also with a scope (`price[dim-market=seg-dk]`), or `_id`,
    `_externalKey`, `_categories` (all categories of the record, separated by vertical bars), or
    null for a column that is not imported. Other columns are imported if they are named like that
    themselves."""


class CellFault(Shape):
    """What is wrong with a row."""

    column: str | None = Field(examples=["Price"])
    """The column, if one is at fault."""
    attribute: str | None = Field(examples=["price"])
    """The alias of its attribute."""
    message: str = Field(
        examples=["Value for 'price' must be a number such as 1234.5, got '1.234,56'"]
    )
    """What is wrong."""


class PreviewedRow(Shape):
    """What would become of a row."""

    row: int = Field(examples=[1])
    """Its number, from 1."""
    valid: bool
    """Whether it would be imported."""
    action: ImportAction
    """What it would do."""
    errors: list[CellFault]
    """What is wrong with it."""


class ImportPreview(Shape):
    """What an import of these rows would do."""

    total: int = Field(examples=[1])
    """The number of rows."""
    valid: int = Field(examples=[1])
    """How many would be imported."""
    invalid: int = Field(examples=[0])
    """How many would fail."""
    rows: list[PreviewedRow]
    """Each row, in order."""
    unmapped_columns: UnmappedColumns = Field(alias="unmappedColumns")
    """The columns that are not imported."""


class ImportFault(Shape):
    """A row that failed."""

    row: int = Field(examples=[2])
    """Its number, from 1."""
    column: str | None = Field(examples=["Price"])
    """The column, if one is at fault."""
    attribute: str | None = Field(examples=["price"])
    """The alias of its attribute."""
    message: str = Field(
        examples=["Value for 'price' must be a number such as 1234.5, got '1.234,56'"]
    )
    """What is wrong."""


class ImportSummary(Shape):
    """What an import did: created + updated + unchanged + failed is the number of rows."""

    created: int = Field(examples=[1])
    """How many records were created."""
    updated: int = Field(examples=[0])
    """How many rows changed their record."""
    unchanged: int = Field(examples=[0])
    """How many rows had nothing that differs from their record."""
    failed: int = Field(examples=[0])
    """How many rows failed."""
    errors: list[ImportFault]
    """What is wrong with those, in the order of the rows."""
    ids: list[str] = Field(examples=[["ent-7k2m0c2h3v4x5y6z7a8b"]])
    """Ids of the records of the other rows, in the order of the rows."""
    unmapped_columns: UnmappedColumns = Field(alias="unmappedColumns")
    """The columns that are not imported."""

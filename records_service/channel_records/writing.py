"""Creates and updates records as a channel has them, by the rules of an import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, TypeAlias

from records_service.attributes.model import Attribute, AttributeType
from records_service.blueprint.blueprint import BLUEPRINTS, Blueprint
from records_service.bulk.model import BulkOutcome as Outcome
from records_service.bulk.model import Options, Result
from records_service.channel_records.model import ChannelRow, ChannelRows
from records_service.channel_records.names import schema_named
from records_service.channel_records.option_names import ids_by_label
from records_service.context import Context
from records_service.imports.columns import Columns, understand_columns
from records_service.imports.rows import ReadRow, RowReader
from records_service.imports.writing import write_rows
from records_service.option_lists.lookup import Options as ChosenOptions
from records_service.option_lists.lookup_store import look_up
from records_service.tabular.cells import CLEAR, escaped
from records_service.tabular.columns import ID_COLUMN
from records_service.values.entries import completed, scope_named
from records_service.variants.store import having_variants
from shared.errors import NotFound


async def write(context: Context, asked: ChannelRows) -> list[dict[str, Any]]:
    """What became of each row, in order: `created`, `updated`, `unchanged`, or why it failed.

    Only the scope of the channel is written, of attributes that vary by it; other scopes stay.
    Dimensions that it does not name stand at their default segments, as where records are read:
    otherwise a value would be written that the next push does not read.
    `hasVariants` says whether a row's `ownValues` were left out.
    Raises `NotFound` for the schema, `ValidationError` for a scope or an attribute that there is
    not.
    """
    blueprint = await context.app[BLUEPRINTS].get(context.database, context.workspace_id)
    schema_id = schema_named(blueprint, asked.schema_id)
    header = dict.fromkeys(
        name for row in asked.rows for name in (*row.values, *row.own_values, *(row.whole or ()))
    )
    defaults = {each.id: each.default_segment_id for each in blueprint.dimensions.values()}
    scope = completed(scope_named(asked.scope, blueprint.dimensions, "/dimensionScope"), defaults)
    columns = understand_columns(
        [ID_COLUMN, *header], {name: name for name in header}, scope, blueprint
    )
    options = ChosenOptions()
    reader = RowReader(columns, schema_id, blueprint, context.role, options)
    labels = _labels(asked, blueprint, list(scope.values()))
    with_variants = await _with_variants(context, asked.rows)

    async def written(
        sent: Sequence[tuple[str, Mapping[str, Any]]], *, must_exist: bool
    ) -> list[tuple[ReadRow, Result]]:
        cells = [_cells(record_id, values, columns, labels) for record_id, values in sent]
        rows = [reader.read(each, typed=True) for each in cells]
        if options.wanted:
            async with context.database.acquire() as conn:
                await look_up(conn, context.workspace_id, options)
            rows = [reader.read(each, typed=True) for each in cells]
        results = await write_rows(
            context, [(row, 0) for row in rows], Options(), must_exist=must_exist
        )
        return list(zip(rows, results, strict=True))

    def values_of(row: ChannelRow) -> Mapping[str, Any]:
        return row.values if row.id in with_variants else {**row.own_values, **row.values}

    known = [each for each in asked.rows if each.whole is not None]
    done = dict(
        zip(
            (each.id for each in known),
            await written([(each.id, values_of(each)) for each in known], must_exist=True),
            strict=True,
        )
    )
    gone = {each for each, (_, result) in done.items() if isinstance(result.error, NotFound)}
    left = [
        (each.id, values_of(each) if each.whole is None else each.whole)
        for each in asked.rows
        if each.whole is None or each.id in gone
    ]
    done |= zip((each for each, _ in left), await written(left, must_exist=False), strict=True)
    return [
        {
            "id": sent.id,
            "outcome": str(result.outcome),
            "hasVariants": sent.id in with_variants,
            "message": None
            if result.outcome is not Outcome.FAILED
            else row.errors[0].message
            if row.errors
            else None
            if result.error is None
            else result.error.message,
        }
        for sent in asked.rows
        for row, result in (done[sent.id],)
    ]


async def _with_variants(context: Context, rows: Sequence[ChannelRow]) -> AbstractSet[str]:
    """The records with variants, of those with values that only others have."""
    asked = [row.id for row in rows if row.own_values]
    if not asked:
        return frozenset()
    async with context.database.acquire() as conn:
        return await having_variants(conn, context.workspace_id, asked)


Labels: TypeAlias = "Mapping[str, Mapping[str, Sequence[str]]]"
"""Attribute id -> label in the scope of a channel -> ids of the options that have it."""


def _labels(asked: ChannelRows, blueprint: Blueprint, segment_ids: Sequence[str]) -> Labels:
    lists = {
        each: blueprint.option_lists.get(blueprint.attributes[each].option_list_id or "")
        for each in asked.labelled
        if each in blueprint.attributes
    }
    return {
        attribute_id: ids_by_label(option_list, segment_ids)
        for attribute_id, option_list in lists.items()
        if option_list is not None
    }


def _cells(
    record_id: str, values: Mapping[str, Any], columns: Columns, labels: Labels
) -> Mapping[str, Any]:
    cells = {ID_COLUMN: record_id}
    for name, value in values.items():
        attribute = columns.targets[name].attribute
        cells[name] = _cell(_labelled(value, labels.get(attribute.id, {})), attribute)
    return cells


def _labelled(value: Any, ids: Mapping[str, Sequence[str]]) -> Any:
    """An option by its label in the scope; what is none, or of several, is left to the import."""
    if isinstance(value, list):
        return [_labelled(each, ids) for each in value]
    named = ids.get(value, ()) if isinstance(value, str) else ()
    return named[0] if len(named) == 1 else value


def _cell(value: Any, attribute: Attribute) -> Any:
    r"""A value as a member of a JSON row: a text is a text, and null clears."""
    if value is None or value == "":
        return CLEAR
    if isinstance(value, str):
        # A text of several values would be split at bars.
        is_whole = attribute.multiple and attribute.type is AttributeType.TEXT
        return [value] if is_whole else escaped(value)
    return value

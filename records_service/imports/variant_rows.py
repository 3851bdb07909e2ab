"""Writes rows that are about variants, one by one, by the commands of single writes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict, Field

from records_service.bulk import commands as bulk
from records_service.bulk.judging import failed
from records_service.bulk.model import BulkOutcome as Outcome
from records_service.bulk.model import OnMatch, OnMissing, Options, Result, Row
from records_service.context import Context
from records_service.imports.rows import ReadRow
from records_service.records.model import Id, SentValues
from records_service.tabular.columns import CATEGORIES_COLUMN
from records_service.variants import commands, store
from records_service.variants.model import VariantAnswer, VariantChanges, VariantDraft
from shared.database import Conn, lent
from shared.errors import ApiError, Conflict, NotFound, ValidationError, truncated
from shared.http.shapes import Closed, names_of


class VariantRow(Closed):
    """A variant in a JSON file; an update replaces the attributes that are named."""

    model_config = ConfigDict(populate_by_name=True)
    sent_back: ClassVar[frozenset[str]] = frozenset({*names_of(VariantAnswer), CATEGORIES_COLUMN})

    id: Id | None = None
    entity_id: Id | None = Field(default=None, alias="entityId")
    parent_id: str | None = Field(default=None, alias="parentId")
    values: SentValues = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Known:
    """The variants that there are, of those that are named: id -> record and version."""

    variants: dict[str, tuple[str, int]]
    later: frozenset[str]
    """Records that are created by later rows."""


async def write_rows(
    context: Context,
    rows: Sequence[tuple[ReadRow, int]],
    options: Options,
    conn: Conn | None = None,
    *,
    must_exist: bool = False,
) -> list[Result]:
    """Write rows of records and of variants; one result for each, in their order.

    `rows` are what was read and its size in bytes. Records come first, many at a time. A variant
    whose record comes in a later row fails all the same: what a row meets must not depend on how
    many are written together. Raises what `bulk.write_rows` raises.
    """
    records = [
        Row(index, row.draft(must_exist=must_exist and row.id is not None, size=size))
        for index, (row, size) in enumerate(rows)
        if not row.is_variant
    ]
    results = {
        result.index: result for result in await bulk.write_rows(context, records, options, conn)
    }
    variants = [index for index, (row, _) in enumerate(rows) if row.is_variant]
    if not variants:
        return list(results.values())
    created = {
        result.id: result.index
        for result in results.values()
        if result.outcome is Outcome.CREATED and result.id is not None
    }
    with lent(context.database, conn) if conn is not None else nullcontext():
        async with context.database.acquire() as reading:
            known = await store.records_of_variants(
                reading,
                context.workspace_id,
                [row.variant_id for row, _ in rows if row.variant_id is not None],
            )
        for index in variants:
            later = frozenset(each for each, place in created.items() if place > index)
            results[index] = await _result(
                context, index, rows[index][0], options, _Known(known, later), must_exist=must_exist
            )
    return [results[index] for index in range(len(rows))]


async def _result(
    context: Context,
    index: int,
    row: ReadRow,
    options: Options,
    known: _Known,
    *,
    must_exist: bool,
) -> Result:
    try:
        if row.errors:
            raise ValidationError(row.errors[0].message)
        stored = None if row.variant_id is None else known.variants.get(row.variant_id)
        if stored is None:
            if options.on_missing is OnMissing.FAIL or (must_exist and row.variant_id is not None):
                raise _missing(row)
            made = await _created(context, index, row, known.later)
        else:
            made = await _updated(context, index, row, options, stored)
    except ApiError as error:
        return failed(index, error, row.variant_id)
    if made.id is not None and made.version is not None:
        record_id = row.id if stored is None else stored[0]
        known.variants[made.id] = record_id or "", made.version
    return made


async def _created(context: Context, index: int, row: ReadRow, later: frozenset[str]) -> Result:
    if row.id is None:
        raise ValidationError.at(
            "/entityId", "Field '_id' is required: the id of the record of the new variant"
        )
    if row.id in later:
        raise NotFound(f"Entity '{truncated(row.id)}' not found: its row comes later in the file")
    draft = VariantDraft(id=row.variant_id, parent_id=row.parent_id, values=row.values)
    create = commands.create if row.is_draft else commands.create_from_row
    variant = (await create(context, row.id, draft)).variant
    return Result(index, Outcome.CREATED, variant.id, variant.version)


async def _updated(
    context: Context, index: int, row: ReadRow, options: Options, stored: tuple[str, int]
) -> Result:
    record_id, version = stored
    assert row.variant_id is not None
    if row.id not in (None, record_id):
        raise ValidationError.at(
            "/entityId",
            f"Variant '{truncated(row.variant_id)}' is not of entity '{truncated(row.id)}'",
        )
    if options.on_match is OnMatch.FAIL:
        raise Conflict.taken("Variant", row.variant_id)
    if options.on_match is OnMatch.SKIP:
        return Result(index, Outcome.SKIPPED, row.variant_id, version)
    changes = VariantChanges(parent_id=row.parent_id, values=row.values)
    loaded = await commands.update_from_row(
        context, row.variant_id, record_id, changes, by_scope=not row.is_draft
    )
    now = loaded.variant.version
    outcome = Outcome.UNCHANGED if now == version else Outcome.UPDATED
    return Result(index, outcome, row.variant_id, now)


def _missing(row: ReadRow) -> ApiError:
    if row.variant_id is None:
        return ValidationError.at("", "Field '_variantId' is required, because none is created")
    return NotFound.of("Variant", row.variant_id)

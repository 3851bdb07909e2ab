"""One export: which records and columns it has, and the pieces of its file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from records_service.blueprint.blueprint import BLUEPRINTS, Blueprint
from records_service.blueprint.compiled_schema import CompiledSchema, compiled_schema
from records_service.catalogs.categories.reading import visible_catalog
from records_service.context import Context
from records_service.exports import store
from records_service.exports.families import Families
from records_service.exports.model import Columns, ExportQuery, Format
from records_service.exports.rows import (
    Layout,
    Line,
    ScopeKey,
    fixed_columns,
    json_row,
    laid_out,
    names_of,
    table_row,
)
from records_service.exports.store import Filter, Part
from records_service.exports.walk import EXPORTS, Walk
from records_service.exports.writers import TABLES, Writer, writer_of
from records_service.records.relations import find_related
from records_service.records.rendering import render
from records_service.tabular.columns import CATEGORIES_COLUMN
from records_service.values.entries import (
    Scope,
    completed,
    scope_key,
    scope_named,
)
from records_service.values.relations import Related
from records_service.variants.rendering import render as render_variant
from records_service.workflow_copies.moves import moves_as_json
from records_service.writes.model import Record
from shared.errors import ValidationError, truncated
from shared.http.json_types import js_type
from shared.process.offload import in_thread

COLUMNS_MAX: Final = 16_384
"""Spreadsheets have no more."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An export as it was asked for, with the names looked up in the model of that moment."""

    format: Format
    columns: Columns | None
    scope: Scope
    """Completed: with the default segments."""
    schema: CompiledSchema | None
    filters: list[Filter]
    bom: bool
    variants: bool
    blueprint: Blueprint
    catalog_id: str | None

    @property
    def file_name(self) -> str:
        """The name under which browsers save the file."""
        name = "records" if self.schema is None else self.schema.definition.alias
        return f"{name}.{self.format}"


async def understand(context: Context, query: ExportQuery, asked_format: Format) -> Asked:
    """What is asked for; raises `NotFound` or `ValidationError`."""
    blueprint = await context.app[BLUEPRINTS].get(context.database, context.workspace_id)
    catalog_id = None
    if query.catalog_id is not None:
        catalog_id = await visible_catalog(context, query.catalog_id)
    columns = query.columns
    if columns is Columns.PER_SCOPE and query.scope is not None:
        raise ValidationError.at(
            "/scope", "Field 'scope' cannot be combined with columns 'perScope'"
        )
    if query.bom and asked_format is not Format.CSV:
        raise ValidationError.at(
            "/bom", f"Field 'bom' is for format 'csv' only, got '{truncated(asked_format)}'"
        )
    if columns is None and (query.scope is not None or asked_format in TABLES):
        columns = Columns.RESOLVED
    schema = None
    if query.schema_id is not None:
        schema = await compiled_schema(blueprint, blueprint.schema_id_of(query.schema_id))
    schema_id = None if schema is None else schema.definition.id
    moves = moves_as_json(blueprint.state_moves) if blueprint.state_moves else None
    defaults = {each.id: each.default_segment_id for each in blueprint.dimensions.values()}
    return Asked(
        format=asked_format,
        columns=columns,
        scope=completed(_scope(query.scope, blueprint), defaults),
        schema=schema,
        filters=[
            Filter(schema_id, state, state_moves=moves) for state in _states(blueprint, query)
        ],
        bom=query.bom,
        variants=query.variants,
        blueprint=blueprint,
        catalog_id=catalog_id,
    )


class Export:
    """The file of one export, piece by piece."""

    def __init__(self, context: Context, asked: Asked) -> None:
        self._context = context
        self._asked = asked
        self._writer: Writer = writer_of(asked.format, bom=asked.bom)
        self._walk = Walk(
            context.app[EXPORTS],
            context.database,
            context.workspace_id,
            asked.filters,
            None if asked.catalog_id is None else (asked.catalog_id, context.role),
        )
        per_scope = asked.columns is Columns.PER_SCOPE
        self._fixed = fixed_columns(variants=asked.variants, per_scope=per_scope)
        self._layout = Layout(None if per_scope else asked.scope, self._fixed)

    async def begin(self) -> bytes:
        """What stands before the first record; raises `ServiceUnavailable`, `ValidationError`."""
        await self._walk.begin()
        if self._asked.format in TABLES:
            self._layout = await self._lay_out()
        return self._writer.begin(self._layout.header)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The records, then the end of the file."""
        async for part in self._walk.parts():
            async for lines in self._lines(part):
                yield await self._piece(lines)
        yield await in_thread(self._writer.end)

    async def _lay_out(self) -> Layout:
        asked, context = self._asked, self._context
        schemas = [asked.schema] if asked.schema else await self._schemas(asked.blueprint)
        names = names_of(schemas, [each.access(context.role, None) for each in schemas])
        if asked.columns is Columns.RESOLVED:
            layout = laid_out(self._fixed, names, asked.scope)
        else:
            layout = laid_out(self._fixed, names, None, await self._scopes(names))
        if asked.format is Format.XLSX and len(layout.header) > COLUMNS_MAX:
            raise ValidationError.at(
                "/format",
                f"A spreadsheet has at most {COLUMNS_MAX} columns, this export has"
                f" {len(layout.header)}: expected format 'csv', 'json' or 'ndjson'",
            )
        return layout

    async def _schemas(self, blueprint: Blueprint) -> list[CompiledSchema]:
        return [await compiled_schema(blueprint, schema_id) for schema_id in blueprint.schemas]

    async def _scopes(self, names: Mapping[str, str]) -> dict[str, set[ScopeKey]]:
        """The scopes in which the caller sees values of these attributes."""
        blueprint, role = self._asked.blueprint, self._context.role
        scoped = [name for name in names if blueprint.attributes[name].dimension_ids]
        scopes: dict[str, set[ScopeKey]] = {}
        if scoped:
            async for part in self._walk.scopes(scoped, variants=self._asked.variants):
                for schema_id, state_id, attribute_id, scope in part.rows:
                    schema = await compiled_schema(blueprint, schema_id)
                    if attribute_id in schema.access(role, state_id).visible:
                        scopes.setdefault(attribute_id, set()).add(scope_key(scope))
        return scopes

    async def _lines(self, part: Part) -> AsyncIterator[Sequence[Line]]:
        """The records of a part, each with its variants behind it if they are asked for."""
        schemas = await self._schemas_of(part)
        records = await in_thread(_records, self._context.workspace_id, part.rows, schemas)
        categories: Mapping[str, Sequence[str]] = {}
        if self._asked.columns is None or CATEGORIES_COLUMN in self._layout.fixed:
            ids = [record.id for record in records]
            categories = await self._walk.categories(ids, self._context.role)
        lines = [
            Line(record, schemas[record.schema_id], categories=categories.get(record.id, ()))
            for record in records
        ]
        if not self._asked.variants:
            yield lines
            return
        families = Families(lines)
        async for found in self._walk.variants([record.id for record in records]):
            known = await self._schemas_of(found)
            yield await in_thread(families.up_to, found.rows, known)
        yield families.rest()

    async def _schemas_of(self, part: Part) -> dict[str, CompiledSchema]:
        """Schema id -> its rules, at the version of the model of that moment."""
        context = self._context
        blueprint = await context.app[BLUEPRINTS].at(
            context.database, context.workspace_id, part.model_version
        )
        return {
            schema_id: await compiled_schema(blueprint, schema_id)
            for schema_id in {row["schema_id"] for row in part.rows}
            # A schema that is gone had no records any more: these are deleted by now.
            if schema_id in blueprint.schemas
        }

    async def _piece(self, lines: Sequence[Line]) -> bytes:
        # What a variant inherits may name other records than it does.
        named = [(values, line.schema) for line in lines for values in (line.own, *line.above)]
        related = await find_related(self._context, named)
        return await in_thread(self._written, lines, related)

    def _written(self, lines: Sequence[Line], related: Related) -> bytes:
        return self._writer.rows([self._row(line, related) for line in lines])

    def _row(self, line: Line, related: Related) -> Any:
        access = line.schema.access(self._context.role, line.record.state_id)
        if self._asked.columns is None:
            if line.variant is not None:
                return render_variant(line.variant, line.schema, access, related)
            whole = render(line.record, line.schema, access, related)
            return {**whole, CATEGORIES_COLUMN: line.categories} if line.categories else whole
        if self._asked.columns is Columns.RESOLVED:
            values = line.effective(related)
        else:
            values = related.living(line.own, line.schema.relations)
        if self._asked.format in TABLES:
            return table_row(line, values, access, self._layout)
        return json_row(line, values, access, self._layout)


def _records(
    workspace_id: str, rows: Sequence[Any], schemas: Mapping[str, CompiledSchema]
) -> list[Record]:
    records = [store.record_of(workspace_id, row) for row in rows if row["schema_id"] in schemas]
    if not any(schema.state_moves for schema in schemas.values()):
        return records
    return [
        replace(record, state_id=schemas[record.schema_id].state_id_of(record.state_id))
        for record in records
    ]


def _states(blueprint: Blueprint, query: ExportQuery) -> list[str | None]:
    """The ids of all states with this name, in every workflow; a name that nothing has is one."""
    name = query.lifecycle_state_id
    if name is None:
        return [None]
    states = (workflow.state_named(name) for workflow in blueprint.workflows.values())
    return [*sorted({name, *(state.id for state in states if state)})]


def _scope(sent: str | None, blueprint: Blueprint) -> dict[str, str]:
    """The scope by ids; raises `ValidationError`."""
    if sent is None:
        return {}
    try:
        scope = orjson.loads(sent)
    except orjson.JSONDecodeError:
        raise ValidationError.at(
            "/scope", f"Field 'scope' must be a JSON object, got '{truncated(sent)}'"
        ) from None
    if not isinstance(scope, dict):
        raise ValidationError.at(
            "/scope", f"Field 'scope' must be a JSON object, got {js_type(scope)}"
        )
    return scope_named(scope, blueprint.dimensions, "/scope")

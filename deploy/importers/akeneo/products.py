"""Maps each row of products.csv to a record, and accounts for every cell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.importers.akeneo import cells
from deploy.importers.akeneo.columns import Column, Role
from deploy.importers.akeneo.lists import Lists
from deploy.importers.akeneo.names import (
    CHANNEL,
    CURRENCY,
    ENABLED,
    GROUPS,
    LOCALE,
    WITHOUT_FAMILY,
    Names,
)
from deploy.importers.akeneo.reading import (
    PRODUCTS,
    Catalogue,
    Row,
    SourceAttribute,
    key_of,
    read_rows,
    split_codes,
)
from deploy.importers.akeneo.sources import Settings, Sources
from deploy.importers.akeneo.types import ONE_OF_A_LIST, SEVERAL_OF_A_LIST, Shape, shape_of
from deploy.importers.plan import Entry, Kind, Link, Problem, RecordPlan, RefusedRow

MEDIA_FOLDER = "files"


@dataclass(frozen=True, slots=True)
class Products:
    """The products of a catalogue as records; each call of `records` reads the file again."""

    sources: Sources
    lists: Lists

    def records(self) -> Iterator[RecordPlan | RefusedRow]:
        """One for each filled row, in the order of the file."""
        catalogue, names = self.sources.catalogue, self.sources.names
        identifier_column = self.sources.survey.identifier.name
        lines: dict[str, int] = {}
        families = {key: names.schema(family.code) for key, family in catalogue.families.items()}
        context = _Context(
            catalogue=catalogue,
            lists=self.lists,
            settings=self.sources.settings,
            model_keys=frozenset(key_of(code) for code in catalogue.product_models.codes),
            files_are_here=(catalogue.folder / MEDIA_FOLDER).is_dir(),
        )
        for row in read_rows(catalogue.folder / PRODUCTS):
            identifier = row.get(identifier_column)
            refusal = _whole_row_refusal(row, identifier, families)
            record_id = names.record(identifier)
            if refusal is None and record_id in lines:
                refusal = f"repeats the product of line {lines[record_id]}"
            if refusal is not None:
                problem = Problem(
                    Kind.RECORDS, identifier or "?", refusal, file=PRODUCTS, line=row.line
                )
                yield RefusedRow(problem, len(row.cells) + row.surplus)
                continue
            lines[record_id] = row.line
            family = row.get("family")
            yield _Product(context, row, identifier).record(
                self.sources.survey.columns,
                record_id,
                families[key_of(family)] if family else names.schema(WITHOUT_FAMILY),
            )


def _whole_row_refusal(row: Row, identifier: str, families: Mapping[str, str]) -> str | None:
    if row.surplus:
        return "has more cells than the header has columns"
    if not identifier:
        return "has no identifier"
    family = row.get("family")
    if family and key_of(family) not in families:
        return f"has family '{family}', which is not in families.csv"
    return None


@dataclass(frozen=True, slots=True)
class _Context:
    """What every row needs."""

    catalogue: Catalogue
    lists: Lists
    settings: Settings
    model_keys: frozenset[str]
    files_are_here: bool

    @property
    def names(self) -> Names:
        return self.settings.names


@dataclass(slots=True)
class _Product:
    """One row while its cells are gone through."""

    context: _Context
    row: Row
    identifier: str
    values: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    links: dict[str, Link] = field(default_factory=dict)
    left: dict[str, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    told_by_schema: int = 0
    measures: dict[tuple[str, str, str], dict[Role, Column]] = field(
        default_factory=lambda: defaultdict(dict)
    )

    def record(self, columns: tuple[Column, ...], record_id: str, schema_id: str) -> RecordPlan:
        for column in columns:
            cell = self.row.get(column.name)
            if not cell:
                continue
            try:
                self._take(column, cell)
            except cells.Unfit as why:
                self._refuse(str(why), column)
        for pair in self.measures.values():
            self._take_measure(pair.get(Role.VALUE), pair.get(Role.UNIT))
        return RecordPlan(
            id=record_id,
            source=self.identifier,
            line=self.row.line,
            schema_id=schema_id,
            values={alias: tuple(entries) for alias, entries in self.values.items()},
            links=self.links,
            told_by_schema=self.told_by_schema,
            left=self.left,
            problems=tuple(self.problems),
        )

    def _take(self, column: Column, cell: str) -> None:
        match column.role:
            case Role.PROPERTY:
                self._take_property(column, cell)
            case Role.ASSOCIATION:
                self._take_association(column, cell)
            case Role.UNKNOWN:
                raise cells.Unfit(column.about)
            case Role.VALUE | Role.UNIT:
                assert column.attribute is not None
                self._take_value(column, column.attribute, cell)

    def _take_property(self, column: Column, cell: str) -> None:
        match column.about:
            case "family":
                self.told_by_schema += 1
            case "enabled":
                self._keep(column, ENABLED, cells.boolean(cell))
            case "groups":
                self._keep(column, GROUPS, _ids(cell, self.context.lists.group_ids, "group"))
            case "categories":
                self._leave("assignments to categories", len(split_codes(cell)))
            case "parent":
                self._leave(self._parent(cell))
            case about:
                self._leave(f"Akeneo's own {about}")

    def _parent(self, code: str) -> str:
        if code in self.context.catalogue.product_models.codes:
            return "links to product models"
        if key_of(code) in self.context.model_keys:
            return "links to product models, spelled in another letter case"
        return "links to product models that are not in the catalogue"

    def _take_association(self, column: Column, cell: str) -> None:
        names = self.context.names
        match column.associated:
            case "products":
                targets = {names.record(code): code for code in split_codes(cell)}
                alias = names.alias(names.relation(column.about))
                self.links[alias] = Link(targets, column.name)
            case "groups":
                ids = _ids(cell, self.context.lists.group_ids, "group")
                self._keep(column, names.relation_groups(column.about), ids)
            case "product_models":
                self._leave("associations with product models", len(split_codes(cell)))
            case "products-quantity":
                self._leave("quantities of associations", len(split_codes(cell)))
            case other:
                raise cells.Unfit(f"associations by {other} are not supported")

    def _take_value(self, column: Column, attribute: SourceAttribute, cell: str) -> None:
        shape = shape_of(attribute)
        if shape is None:
            raise cells.Unfit(f"type '{attribute.type}' is not supported")
        if shape is Shape.MEASURE:
            self.measures[column.place][column.role] = column
        elif shape is Shape.PRICE and not column.currency:
            self._take_prices(column, attribute, cell)
        elif shape is Shape.MEDIA:
            self._take_media(column, attribute, cell)
        else:
            self._keep(column, attribute.code, self._value(shape, attribute, cell))

    def _value(self, shape: Shape, attribute: SourceAttribute, cell: str) -> Any:
        if shape in ONE_OF_A_LIST or shape in SEVERAL_OF_A_LIST:
            known = self.context.lists.option_ids[key_of(attribute.code)]
            if shape in SEVERAL_OF_A_LIST:
                return _ids(cell, known, "option")
            return _id(cell.strip(), known, "option")
        match shape:
            case Shape.NUMBER | Shape.PRICE:
                return cells.number(cell)
            case Shape.BOOLEAN:
                return cells.boolean(cell)
            case Shape.DAY:
                return cells.day(cell)
            case _:
                return cell

    def _take_prices(self, column: Column, attribute: SourceAttribute, cell: str) -> None:
        amounts = cells.prices(cell)
        unknown = sorted(set(amounts) - set(self.context.catalogue.currencies))
        if unknown:
            raise cells.Unfit(f"no channel uses currency '{unknown[0]}'")
        for place, (currency, amount) in enumerate(amounts.items()):
            # The cell is one, however many amounts it holds.
            columns = (column.name,) if place == 0 else ()
            self._keep(column, attribute.code, amount, columns=columns, currency=currency)

    def _take_media(self, column: Column, attribute: SourceAttribute, cell: str) -> None:
        base = self.context.settings.media_base_url
        is_address = cell.startswith(("http://", "https://"))
        if base is None and not is_address:
            self._leave("references to files (no --media-base-url says where they are)")
            return
        if (
            self.context.files_are_here
            and not is_address
            and not (self.context.catalogue.folder / cell.lstrip("/")).is_file()
        ):
            raise cells.Unfit(f"file '{cells.short(cell)}' is not in the catalogue's folder")
        self._keep(column, attribute.code, cells.address(base or "", cell))

    def _take_measure(self, amount: Column | None, unit: Column | None) -> None:
        """Two columns are one value; so a fault in one of them refuses both."""
        columns = tuple(column for column in (amount, unit) if column is not None)
        attribute = columns[0].attribute
        assert attribute is not None
        try:
            if amount is None:
                raise cells.Unfit("is a unit without an amount")
            text, unit_code = self.row.get(amount.name), ""
            if unit is not None:
                unit_code = self.row.get(unit.name)
            else:
                text, unit_code = cells.amount_and_unit(text)
            value: dict[str, Any] = {"amount": cells.number(text)}
            if unit_code:
                family = key_of(attribute.settings.get("metric_family", ""))
                known = self.context.lists.unit_ids[family]
                value["unit"] = _id(unit_code.strip(), known, "unit")
        except cells.Unfit as why:
            self._refuse(str(why), *columns)
        else:
            names = tuple(column.name for column in columns)
            self._keep(amount, attribute.code, value, columns=names)

    def _keep(
        self,
        column: Column,
        code: str,
        value: Any,
        *,
        columns: tuple[str, ...] | None = None,
        currency: str = "",
    ) -> None:
        names = self.context.names
        scope = {
            names.dimension(dimension): names.segment(segment)
            for dimension, segment in (
                (LOCALE, column.locale),
                (CHANNEL, column.channel),
                (CURRENCY, currency or column.currency),
            )
            if segment
        }
        entry = Entry(scope, value, (column.name,) if columns is None else columns)
        self.values[names.alias(code)].append(entry)

    def _leave(self, what: str, things: int = 1) -> None:
        filled, counted = self.left.get(what, (0, 0))
        self.left[what] = (filled + 1, counted + things)

    def _refuse(self, why: str, *columns: Column) -> None:
        attribute = columns[0].attribute
        self.problems.append(
            Problem(
                kind=Kind.RECORDS,
                source=self.identifier,
                message=why,
                file=PRODUCTS,
                line=self.row.line,
                columns=tuple(column.name for column in columns),
                attribute=self.context.names.alias(attribute.code) if attribute else "",
                value=cells.short(self.row.get(columns[0].name)),
            )
        )


def _id(code: str, known: Mapping[str, str], what: str) -> str:
    """The option's id; codes mean the same in any letter case, as in Akeneo."""
    found = known.get(key_of(code))
    if found is None:
        raise cells.Unfit(f"'{cells.short(code)}' is not a declared {what}")
    return found


def _ids(cell: str, known: Mapping[str, str], what: str) -> list[str]:
    return list(dict.fromkeys(_id(code, known, what) for code in split_codes(cell)))

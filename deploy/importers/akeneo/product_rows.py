"""Goes through the cells of one row of products or product models, and accounts for each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from deploy.importers import cells
from deploy.importers.akeneo.columns import Column, Role
from deploy.importers.akeneo.lists import Lists
from deploy.importers.akeneo.reading import Catalogue, SourceAttribute
from deploy.importers.akeneo.sources import Settings
from deploy.importers.akeneo.types import ONE_OF_A_LIST, SEVERAL_OF_A_LIST, Shape, shape_of
from deploy.importers.csv_rows import Row, key_of, split_codes
from deploy.importers.names import (
    CHANNEL,
    CURRENCY,
    ENABLED,
    GROUPS,
    LOCALE,
    Names,
)
from deploy.importers.plan import Entry, Kind, Link, Parent, Problem, RecordPlan

MEDIA_FOLDER = "files"
ROOTS = "assignments to the root of a category tree, which is a catalog"


@dataclass(frozen=True, slots=True)
class Context:
    """What every row needs."""

    file: str
    """The name of the file that the rows are in."""
    columns: tuple[Column, ...]

    catalogue: Catalogue
    lists: Lists
    settings: Settings
    categories: Mapping[str, str]
    """Code in lower case -> category id; an empty text for the root of a tree."""
    record_ids: Callable[[str], str]
    """The id of the record that a product becomes or is a variant of."""
    model_record_ids: Callable[[str], str]
    """The same of a product model."""
    files_are_here: bool

    @property
    def names(self) -> Names:
        """How ids are made."""
        return self.settings.names


@dataclass(slots=True)
class ProductRow:
    """One row while its cells are gone through."""

    context: Context
    row: Row
    identifier: str
    values: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    links: dict[str, Link] = field(default_factory=dict)
    left: dict[str, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    told_otherwise: int = 0
    categories: tuple[str, ...] = ()
    category_columns: tuple[str, ...] = ()
    measures: dict[tuple[str, str, str], dict[Role, Column]] = field(
        default_factory=lambda: defaultdict(dict)
    )

    def read(self) -> None:
        """Go through all cells."""
        for column in self.context.columns:
            cell = self.row.get(column.name)
            if not cell:
                continue
            try:
                self._take(column, cell)
            except cells.Unfit as why:
                self._refuse(str(why), column)
        for pair in self.measures.values():
            self._take_measure(pair.get(Role.VALUE), pair.get(Role.UNIT))

    def plan(
        self,
        record_id: str,
        schema_id: str,
        *,
        external_key: str | None = None,
        parent: Parent | None = None,
        values: Mapping[str, tuple[Entry, ...]] | None = None,
    ) -> RecordPlan:
        """What it becomes; `values` are its own where it inherits the others."""
        found = {alias: tuple(entries) for alias, entries in self.values.items()}
        own = found if values is None else values
        return RecordPlan(
            id=record_id,
            source=self.identifier,
            line=self.row.line,
            schema_id=schema_id,
            values=own,
            links=self.links,
            told_otherwise=self.told_otherwise + _columns_of(found) - _columns_of(own),
            left=self.left,
            problems=tuple(
                replace(one, kind=Kind.RECORDS if parent is None else Kind.VARIANTS)
                for one in self.problems
            ),
            external_key=external_key,
            parent=parent,
            categories=self.categories,
            category_columns=self.category_columns,
            file=self.context.file,
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
            case "family" | "family_variant" | "code" | "parent":
                self.told_otherwise += 1
            case "enabled":
                self._keep(column, ENABLED, cells.boolean(cell))
            case "groups":
                self._keep(column, GROUPS, _ids(cell, self.context.lists.group_ids, "group"))
            case "categories":
                self._take_categories(column, cell)
            case about:
                self._leave(f"Akeneo's own {about}")

    def _take_categories(self, column: Column, cell: str) -> None:
        if not self.context.categories:
            self._leave("assignments to categories (no categories.csv)", len(split_codes(cell)))
            return
        ids = _ids(cell, self.context.categories, "category")
        roots = ids.count("")
        self.categories = tuple(one for one in ids if one)
        if self.categories:
            self.category_columns = (column.name,)
        elif roots:
            self.left[ROOTS] = (1, 0)
        if roots:
            filled, counted = self.left.get(ROOTS, (0, 0))
            self.left[ROOTS] = (filled, counted + roots)

    def _take_association(self, column: Column, cell: str) -> None:
        names = self.context.names
        match column.associated:
            case "products":
                targets = {self.context.record_ids(code): code for code in split_codes(cell)}
                alias = names.alias(names.relation(column.about))
                self.links[alias] = Link(targets, (column.name,))
            case "groups":
                ids = _ids(cell, self.context.lists.group_ids, "group")
                self._keep(column, names.relation_groups(column.about), ids)
            case "product_models":
                targets = {self.context.model_record_ids(code): code for code in split_codes(cell)}
                alias = names.alias(names.relation_models(column.about))
                self.links[alias] = Link(targets, (column.name,))
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
                file=self.context.file,
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


def _columns_of(values: Mapping[str, tuple[Entry, ...]]) -> int:
    return sum(len(entry.columns) for entries in values.values() for entry in entries)

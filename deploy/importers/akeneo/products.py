"""Maps product models and products to records and variants.

A root model is a record; a model below it is a variant of level 1, and a product with a parent a
variant below that. A product without a parent is a record. What a row repeats of its model is
inherited in Sigma, so it is not stored again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from deploy.importers.akeneo.catalogs import category_ids
from deploy.importers.akeneo.columns import Column
from deploy.importers.akeneo.lists import Lists
from deploy.importers.akeneo.product_models import MODELS, ProductModel, root_of
from deploy.importers.akeneo.product_rows import MEDIA_FOLDER, Context, ProductRow
from deploy.importers.akeneo.reading import PRODUCTS
from deploy.importers.akeneo.sources import Sources
from deploy.importers.csv_rows import Row, key_of, read_rows
from deploy.importers.inheriting import Values, own_values
from deploy.importers.names import WITHOUT_FAMILY
from deploy.importers.plan import Kind, Parent, Problem, RecordPlan, RefusedRow


@dataclass(frozen=True, slots=True)
class Products:
    """The products of a catalogue; each call of `records` reads the file again."""

    sources: Sources
    lists: Lists

    def records(self) -> Iterator[RecordPlan | RefusedRow]:
        """The product models, then one for each filled row, in the order of the file."""
        models = _Models(self.sources, self._context(MODELS, self.sources.survey.model_columns))
        for model in self.sources.catalogue.product_models.values():
            yield models.plan(model)
        context = self._context(PRODUCTS, self.sources.survey.columns)
        names, lines = self.sources.names, dict[str, int]()
        for row in read_rows(self.sources.catalogue.folder / PRODUCTS):
            identifier = row.get(self.sources.survey.identifier.name)
            refusal = self._refusal(row, identifier, models)
            record_id = names.record(identifier)
            if refusal is None and record_id in lines:
                refusal = f"repeats the product of line {lines[record_id]}"
            if refusal is not None:
                yield _refused(row, identifier, refusal, PRODUCTS, _kind_of(row))
                continue
            lines[record_id] = row.line
            product = ProductRow(context, row, identifier)
            product.read()
            if row.get("parent"):
                yield models.variant(product, names.variant(identifier), row.get("parent"))
            else:
                family = row.get("family")
                yield product.plan(
                    record_id,
                    names.schema(self.sources.catalogue.families[key_of(family)].code)
                    if family
                    else names.schema(WITHOUT_FAMILY),
                    external_key=names.external_key(identifier),
                )

    def _refusal(self, row: Row, identifier: str, models: _Models) -> str | None:
        if row.surplus:
            return "has more cells than the header has columns"
        if not identifier:
            return "has no identifier"
        family = row.get("family")
        if family and key_of(family) not in self.sources.catalogue.families:
            return f"has family '{family}', which is not in families.csv"
        if row.get("parent"):
            return models.refusal_of_parent(row.get("parent"), family)
        return None

    def _context(self, file: str, columns: tuple[Column, ...]) -> Context:
        catalogue = self.sources.catalogue
        return Context(
            file=file,
            columns=columns,
            catalogue=catalogue,
            lists=self.lists,
            settings=self.sources.settings,
            categories=category_ids(self.sources),
            record_ids=self._record_id,
            model_record_ids=self._model_record_id,
            files_are_here=(catalogue.folder / MEDIA_FOLDER).is_dir(),
        )

    def _record_id(self, identifier: str) -> str:
        """A relation leads to records: to that of a variant instead of the variant."""
        parent = self.sources.survey.parents.get(key_of(identifier))
        if parent is None:
            return self.sources.names.record(identifier)
        return self._model_record_id(parent)

    def _model_record_id(self, code: str) -> str:
        models = self.sources.catalogue.product_models
        model = models.get(key_of(code))
        root = root_of(model, models) if model else None
        return self.sources.names.product_model(root.code if root else code)


@dataclass(slots=True)
class _Models:
    """The product models that were gone through, with all values that hold for each."""

    sources: Sources
    context: Context
    resolved: dict[str, tuple[Parent | None, str, Values]]
    """Code in lower case -> its own place, its schema, its values and those it inherits."""

    def __init__(self, sources: Sources, context: Context) -> None:
        self.sources, self.context, self.resolved = sources, context, {}

    def plan(self, model: ProductModel) -> RecordPlan | RefusedRow:
        """A record, or a variant of the one that its parent became."""
        refusal = self._refusal(model)
        if refusal is not None:
            kind = Kind.VARIANTS if model.parent else Kind.RECORDS
            return _refused(model.row, model.code, refusal, MODELS, kind)
        product = ProductRow(self.context, model.row, model.code)
        product.read()
        model_id = self.sources.names.product_model(model.code)
        if model.parent:
            return self.variant(product, model_id, model.parent, becomes=model)
        family = self.sources.catalogue.family_variants[key_of(model.family_variant)].family
        schema_id = self.sources.names.schema(self.sources.catalogue.families[key_of(family)].code)
        plan = product.plan(
            model_id, schema_id, external_key=self.sources.names.external_key(model.code)
        )
        self.resolved[key_of(model.code)] = (None, schema_id, plan.values)
        return plan

    def variant(
        self,
        product: ProductRow,
        variant_id: str,
        parent_code: str,
        *,
        becomes: ProductModel | None = None,
    ) -> RecordPlan:
        """A product or a second model below a model that has been gone through."""
        names = self.sources.names
        key = key_of(parent_code)
        above, schema_id, inherited = self.resolved[key]
        model = self.sources.catalogue.product_models[key]
        model_id = names.product_model(model.code)
        place = (
            Parent(model_id)
            if above is None
            else Parent(above.record_id, model_id, above.level + 1)
        )
        own = own_values(
            {alias: tuple(entries) for alias, entries in product.values.items()},
            inherited,
            self._attributes_of_level(model, place.level),
        )
        if becomes is not None:
            self.resolved[key_of(becomes.code)] = (place, schema_id, {**inherited, **own})
        return product.plan(variant_id, schema_id, parent=place, values=own)

    def refusal_of_parent(self, code: str, family: str) -> str | None:
        """Why nothing can be a variant of this model, or None."""
        key = key_of(code)
        if key not in self.resolved:
            return f"has parent '{code}', which is no product model that can be imported"
        if family and self.sources.names.schema(family) != self.resolved[key][1]:
            return f"has family '{family}', which is not that of its parent '{code}'"
        return None

    def _refusal(self, model: ProductModel) -> str | None:
        if model.row.surplus:
            return "has more cells than the header has columns"
        if not model.code:
            return "has no code"
        varies = self.sources.catalogue.family_variants.get(key_of(model.family_variant))
        if varies is None:
            if not model.parent:
                return f"has family variant '{model.family_variant}', which does not exist"
        elif key_of(varies.family) not in self.sources.catalogue.families:
            return f"has family '{varies.family}', which is not in families.csv"
        return self.refusal_of_parent(model.parent, "") if model.parent else None

    def _attributes_of_level(self, model: ProductModel, level: int) -> Callable[[str], bool]:
        """Whether the family variant gives an alias to this level."""
        catalogue = self.sources.catalogue
        root = root_of(model, catalogue.product_models) or model
        varies = catalogue.family_variants[key_of(root.family_variant)]
        keys = varies.attributes[level - 1] if level <= len(varies.attributes) else frozenset()
        aliases = {
            self.sources.names.alias(catalogue.attributes[key].code)
            for key in keys
            if key in catalogue.attributes
        }
        return aliases.__contains__


def _kind_of(row: Row) -> Kind:
    return Kind.VARIANTS if row.get("parent") else Kind.RECORDS


def _refused(row: Row, source: str, why: str, file: str, kind: Kind) -> RefusedRow:
    problem = Problem(kind, source or "?", why, file=file, line=row.line)
    return RefusedRow(problem, len(row.cells) + row.surplus)

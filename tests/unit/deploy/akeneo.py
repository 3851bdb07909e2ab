"""An invented catalogue, small enough to read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.importers.akeneo.catalogue_plan import plan_of
from deploy.importers.akeneo.sources import Settings
from deploy.importers.plan import Kind, Plan, RecordPlan, RefusedRow

FILES = {
    "attributes.csv": """\
code;label-en_US;label-fr_FR;group;localizable;scopable;sort_order;type;unique;max_characters;\
number_min;number_max;negative_allowed;decimals_allowed;metric_family;default_metric_unit;\
validation_rule;validation_regexp;reference_data_name
sku;SKU;;main;0;0;1;pim_catalog_identifier;1;;;;;;;;;;
title;Title;Titre;main;1;0;2;pim_catalog_text;0;80;;;;;;;;;
story;Story;;main;1;1;3;pim_catalog_textarea;0;;;;;;;;;;
gtin;GTIN;;main;0;0;4;pim_catalog_text;1;;;;;;;;regexp;/^\\d{13}$/;
blades;Blades;;tech;0;0;1;pim_catalog_number;0;;1;9;;0;;;;;
mass;Mass;;tech;0;0;2;pim_catalog_metric;0;;;;0;1;Weight;GRAM;;;
cost;Cost;;tech;0;0;3;pim_catalog_price_collection;0;;;;;1;;;;;
rusts;Rusts;;tech;0;0;4;pim_catalog_boolean;0;;;;;;;;;;
forged;Forged on;;tech;0;1;5;pim_catalog_date;0;;;;;;;;;;
steel;Steel;;tech;0;0;6;pim_catalog_simpleselect;0;;;;;;;;;;
uses;Uses;;tech;0;0;7;pim_catalog_multiselect;0;;;;;;;;;;
finish;Finish;;tech;0;0;8;pim_reference_data_simpleselect;0;;;;;;;;;;finishes
photo;Photo;;;0;0;9;pim_catalog_image;0;;;;;;;;;;
""",
    "attribute_options.csv": """\
code;label-en_US;label-fr_FR;attribute;sort_order
440C;440C;;steel;2
damascus;Damascus;Damas;steel;1
bread;Bread;Pain;uses;1
fish;Fish;Poisson;uses;2
""",
    "attribute_groups.csv": "code;sort_order;label-en_US\ntech;2;Technical\nmain;1;Main\n",
    "families.csv": """\
code;label-en_US;attributes;attribute_as_label;requirements-web;requirements-shop
knives;Knives;sku,title,story,gtin,blades,mass,cost,rusts,forged,steel,uses,photo;title;\
sku,title,story;sku,title,steel
spoons;Spoons;sku,title;title;sku;sku
""",
    "channels.csv": """\
code;label-en_US;locales;currencies;tree
web;Web;en_US,fr_FR;EUR,USD;all
shop;Shop;fr_FR;EUR;all
""",
    "association_types.csv": "code;label-en_US\nGOES_WITH;Goes with\n",
    "groups.csv": "code;type;label-en_US\nsale;RELATED;Sale\n",
    "categories.csv": """\
code;parent;label-en_US;label-fr_FR;label-nl_NL
all;;All;Tout;
sharp;kitchen;Sharp;;
kitchen;all;Kitchen;Cuisine;Keuken
""",
    "product_models.csv": "code;family_variant;title-en_US\nbig-set;knife_size;Big set\n",
    "family_variants.csv": "code;family;variant-axes_1\nknife_size;knives;steel\n",
    "measurement-families.json": """\
[{"code": "Weight", "units": {"GRAM": {"labels": {"en_US": "Gram"}}, "KILOGRAM": {"labels": {}}}}]
""",
    "jobs.yml": "jobs: []\n",
}
HEADER = (
    "sku;family;parent;groups;categories;enabled;title-en_US;title-fr_FR;story-en_US-web;"
    "story-fr_FR-shop;gtin;blades;mass;mass-unit;cost-EUR;cost-USD;rusts;forged-web;steel;uses;"
    "finish;photo;GOES_WITH-products;GOES_WITH-groups"
)


def row(**filled: str) -> str:
    """One line of products.csv; `title_en_US` stands for `title-en_US`."""
    names = HEADER.split(";")
    cells_by_name = {name: filled.pop(name.replace("-", "_"), "") for name in names}
    assert not filled, f"no such column: {filled}"
    return ";".join('"' + cell.replace('"', '""') + '"' for cell in cells_by_name.values())


def planned(folder: Path, *rows: str, header: str = HEADER, **settings: Any) -> Plan:
    (folder / "products.csv").write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return plan_of(folder, Settings(**settings))


def body(plan: Plan, kind: Kind, source: str) -> Mapping[str, Any]:
    return next(one.body for one in plan.model if (one.kind, one.source) == (kind, source))


def records(plan: Plan, file: str = "products.csv") -> list[RecordPlan]:
    """Those of one file."""
    found = list(plan.records())
    assert not any(isinstance(one, RefusedRow) for one in found)
    return [one for one in found if isinstance(one, RecordPlan) and one.file == file]

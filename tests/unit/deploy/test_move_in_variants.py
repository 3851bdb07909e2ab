"""Product models and category trees of an invented catalogue become variants and catalogs."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.importers.limiting import limited
from deploy.importers.plan import Kind, Parent, Plan, RecordPlan, RefusedRow
from tests.unit.deploy.akeneo import FILES, body, planned, row

MODELS = """\
code;family_variant;parent;categories;title-en_US;title-fr_FR;cost-EUR;steel;GOES_WITH-products
chef-hard;by_steel_use;chef;kitchen;Chef;Chef;80;440C;
chef;by_steel_use;;kitchen,all;Chef;Chef;80;;KN-9
"""
VARIANTS = """\
code;family;variant-axes_1;variant-axes_2;variant-attributes_1;variant-attributes_2
by_steel_use;knives;steel;uses;steel,photo;sku,uses,gtin
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {**FILES, "product_models.csv": MODELS, "family_variants.csv": VARIANTS}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def by_id(plan: Plan) -> dict[str, RecordPlan]:
    return {one.id: one for one in plan.records() if isinstance(one, RecordPlan)}


def values_of(record: RecordPlan) -> dict[str, list[object]]:
    return {alias: [one.value for one in entries] for alias, entries in record.values.items()}


def test_models_and_products_become_a_record_and_two_levels_of_variants(folder):
    plan = planned(
        folder,
        row(
            sku="CH-1",
            family="knives",
            parent="CHEF-hard",
            categories="sharp",
            title_en_US="Chef",
            title_fr_FR="Chef",
            cost_EUR="80",
            steel="440c",
            uses="bread",
        ),
    )
    assert (plan.record_count, plan.variant_count) == (1, 2)
    found = by_id(plan)
    assert list(found) == ["model-chef", "model-chef-hard", "var-ch-1"]
    assert {name: one.parent for name, one in found.items()} == {
        "model-chef": None,
        "model-chef-hard": Parent("model-chef"),
        "var-ch-1": Parent("model-chef", "model-chef-hard", 2),
    }
    assert {one.schema_id for one in found.values()} == {"schema-knives"}
    assert found["model-chef"].external_key == "chef"
    assert values_of(found["model-chef"]) == {"title": ["Chef", "Chef"], "cost": [80]}
    # What a row repeats of the model above it is inherited, not stored again.
    assert values_of(found["model-chef-hard"]) == {"steel": ["val-steel-440c"]}
    assert values_of(found["var-ch-1"]) == {"sku": ["CH-1"], "uses": [["val-uses-bread"]]}
    assert sum(one.cells for one in found.values()) == plan.filled_cells
    assert body(plan, Kind.SCHEMAS, "knives")["variantEnabled"] is True
    assert body(plan, Kind.ATTRIBUTES, "sku")["inheritable"] is False
    assert body(plan, Kind.ATTRIBUTES, "title")["inheritable"] is True


def test_a_value_that_differs_takes_the_other_scopes_along(folder):
    plan = planned(
        folder, row(sku="CH-1", family="knives", parent="chef-hard", title_fr_FR="Le chef")
    )
    title = by_id(plan)["var-ch-1"].values["title"]
    # One value of its own would hide the inherited English title.
    assert [(dict(one.scope), one.value, one.columns) for one in title] == [
        ({"dim-locale": "seg-fr_fr"}, "Le chef", ("title-fr_FR",)),
        ({"dim-locale": "seg-en_us"}, "Chef", ()),
    ]


def test_an_attribute_of_the_level_is_its_own_even_where_it_repeats(folder):
    models = MODELS.replace(
        "chef;by_steel_use;;kitchen,all;Chef;Chef;80;;", "chef;by_steel_use;;;Chef;Chef;80;440C;"
    )
    (folder / "product_models.csv").write_text(models)
    plan = planned(folder, row(sku="a", family="knives"))
    assert values_of(by_id(plan)["model-chef-hard"]) == {"steel": ["val-steel-440c"]}


def test_relations_lead_to_the_record_of_a_variant(folder):
    plan = planned(
        folder,
        row(sku="KN-9", family="knives", parent="chef-hard"),
        row(sku="KN-8", family="knives", GOES_WITH_products="KN-9,KN-8"),
    )
    found = by_id(plan)
    assert found["model-chef"].links["GOES_WITH-products"].targets == {"model-chef": "KN-9"}
    assert found["ent-kn-8"].links["GOES_WITH-products"].targets == {
        "model-chef": "KN-9",
        "ent-kn-8": "KN-8",
    }


@pytest.mark.parametrize(
    ("family", "parent", "why"),
    [
        ("knives", "nobody", "has parent 'nobody', which is no product model"),
        ("spoons", "chef", "has family 'spoons', which is not that of its parent 'chef'"),
    ],
)
def test_a_variant_without_a_fitting_parent_is_refused(folder, family, parent, why):
    plan = planned(folder, row(sku="CH-1", family=family, parent=parent))
    (refused,) = (one for one in plan.records() if isinstance(one, RefusedRow))
    assert why in refused.problem.message
    assert (refused.problem.kind, refused.problem.line) == (Kind.VARIANTS, 2)


def test_models_without_their_family_variant_or_parent_are_refused(folder):
    models = "code;family_variant;parent\na;gone;\nb;by_steel_use;c\nc;by_steel_use;b\n"
    (folder / "product_models.csv").write_text(models)
    plan = planned(folder, row(sku="a", family="knives"))
    refused = [one.problem for one in plan.records() if isinstance(one, RefusedRow)]
    assert [(one.source, one.file) for one in refused] == [
        ("a", "product_models.csv"),
        ("b", "product_models.csv"),
        ("c", "product_models.csv"),
    ]
    assert refused[0].message == "has family variant 'gone', which does not exist"
    assert len(list(plan.records())) == plan.record_count + plan.variant_count


def test_trees_become_catalogs_and_categories_in_the_order_in_which_they_can_be_made(folder):
    with (folder / "categories.csv").open("a") as file:
        file.write("lost;nowhere;Lost;;\n")
    plan = planned(folder, row(sku="a", family="knives", categories="sharp,ALL"))
    catalog = body(plan, Kind.CATALOGS, "all")
    assert catalog == {
        "id": "cat-all",
        "alias": "all",
        "name": "All",
        "labels": {"seg-en_us": "All", "seg-fr_fr": "Tout"},
        "externalKey": "all",
    }
    categories = [one.body for one in plan.model if one.kind is Kind.CATEGORIES]
    assert [(one["id"], one["catalogId"], one["parentId"]) for one in categories] == [
        ("ctg-kitchen", "cat-all", None),
        ("ctg-sharp", "cat-all", "ctg-kitchen"),
    ]
    assert by_id(plan)["ent-a"].categories == ("ctg-sharp",)
    assert [(p.kind, p.source, p.line, p.message) for p in plan.problems] == [
        (Kind.CATEGORIES, "lost", 5, "its parent 'nowhere' leads to no root of a tree")
    ]


def test_labels_stand_in_the_languages_of_the_channels(folder):
    plan = planned(folder, row(sku="a", family="knives"))
    assert body(plan, Kind.ATTRIBUTES, "title")["labels"] == {
        "seg-en_us": "Title",
        "seg-fr_fr": "Titre",
    }
    options = body(plan, Kind.OPTION_LISTS, "uses")["values"]
    assert [(one["externalKey"], one["labels"]["seg-fr_fr"]) for one in options] == [
        ("bread", "Pain"),
        ("fish", "Poisson"),
    ]
    assert plan.left["labels in locales that no channel uses"] == 1  # Dutch


def test_a_limit_takes_whole_records_with_their_variants(folder):
    plan = planned(
        folder,
        row(sku="KN-1", family="knives"),
        row(sku="CH-1", family="knives", parent="chef-hard"),
        row(sku="KN-2", family="knives"),
    )
    few = limited(plan, 2)
    assert list(by_id(few)) == ["model-chef", "model-chef-hard", "ent-kn-1", "var-ch-1"]
    assert (few.record_count, few.variant_count) == (2, 2)
    assert few.filled_cells == sum(one.cells for one in by_id(few).values())

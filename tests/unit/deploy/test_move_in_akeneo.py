"""An invented catalogue, small enough to see through, read and mapped as a company's would be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploy.importers.akeneo.catalogue_plan import plan_of
from deploy.importers.akeneo.columns import Role, understand
from deploy.importers.akeneo.product_rows import ROOTS
from deploy.importers.akeneo.reading import read_catalogue
from deploy.importers.akeneo.sources import Settings
from deploy.importers.csv_rows import UnreadableCatalogue
from deploy.importers.names import Names
from deploy.importers.plan import Kind, Plan, RecordPlan
from tests.unit.deploy.akeneo import FILES, body, planned, records, row


@pytest.fixture
def catalogue_folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def only(plan: Plan) -> RecordPlan:
    (record,) = records(plan)
    return record


def plain(record: RecordPlan) -> dict[str, list[tuple[dict[str, str], Any]]]:
    return {
        alias: [(dict(entry.scope), entry.value) for entry in entries]
        for alias, entries in record.values.items()
    }


def test_a_full_row_becomes_a_record_with_every_cell_in_its_place(catalogue_folder):
    plan = planned(
        catalogue_folder,
        row(
            sku="KN-1",
            family="knives",
            groups="sale",
            categories="all,kitchen",
            enabled="1",
            title_en_US="Knife",
            title_fr_FR="Couteau",
            story_en_US_web="Long\nstory; with <br />",
            story_fr_FR_shop="Longue",
            gtin="4006381333931",
            blades="2",
            mass="120.5000",
            mass_unit="GRAM",
            cost_EUR="19.90",
            cost_USD="25",
            rusts="0",
            forged_web="2012-04-20",
            steel="440c",
            uses="fish,BREAD,fish",
            photo="files/a b.jpg",
            GOES_WITH_products="KN-2,kn-3",
            GOES_WITH_groups="sale",
        ),
        media_base_url="https://cdn.example/pim",
    )
    record = only(plan)
    assert (record.id, record.schema_id, record.line) == ("ent-kn-1", "schema-knives", 2)
    web = {"dim-locale": "seg-en_us", "dim-channel": "seg-web"}
    shop = {"dim-locale": "seg-fr_fr", "dim-channel": "seg-shop"}
    assert plain(record) == {
        "sku": [({}, "KN-1")],
        "groups": [({}, ["val-groups-sale"])],
        "enabled": [({}, True)],
        "title": [
            ({"dim-locale": "seg-en_us"}, "Knife"),
            ({"dim-locale": "seg-fr_fr"}, "Couteau"),
        ],
        "story": [(web, "Long\nstory; with <br />"), (shop, "Longue")],
        "gtin": [({}, "4006381333931")],
        "blades": [({}, 2)],
        "mass": [({}, {"amount": 120.5, "unit": "val-unit-weight-gram"})],
        "cost": [({"dim-currency": "seg-eur"}, 19.9), ({"dim-currency": "seg-usd"}, 25)],
        "rusts": [({}, False)],
        "forged": [({"dim-channel": "seg-web"}, "2012-04-20")],
        "steel": [({}, "val-steel-440c")],
        "uses": [({}, ["val-uses-fish", "val-uses-bread"])],
        "photo": [({}, "https://cdn.example/pim/files/a%20b.jpg")],
        "GOES_WITH-groups": [({}, ["val-groups-sale"])],
    }
    assert record.links["GOES_WITH-products"].targets == {"ent-kn-2": "KN-2", "ent-kn-3": "kn-3"}
    assert (record.categories, record.category_columns) == (("ctg-kitchen",), ("categories",))
    assert record.left == {ROOTS: (0, 1)}
    assert (record.problems, record.parent, record.external_key) == ((), None, "KN-1")
    # The product model has three cells.
    assert record.cells + 3 == plan.filled_cells == 25


def test_the_model_says_what_the_files_say(catalogue_folder):
    plan = planned(catalogue_folder, row(sku="a", family="knives", cost_USD="1", finish="matt"))
    assert body(plan, Kind.DIMENSIONS, "locale") == {
        "id": "dim-locale",
        "alias": "locale",
        "name": "Locale",
        "defaultSegmentId": "seg-en_us",
        "segments": [
            {
                "id": f"seg-{code.lower()}",
                "alias": code,
                "name": code,
                "labels": {},
                "externalKey": code,
                "locale": tag,
            }
            for code, tag in (("en_US", "en-US"), ("fr_FR", "fr-FR"))
        ],
    }
    # Nothing but dollars is filled, so a price without a currency is one in dollars.
    assert body(plan, Kind.DIMENSIONS, "currency")["defaultSegmentId"] == "seg-usd"
    assert [value["id"] for value in body(plan, Kind.OPTION_LISTS, "steel")["values"]] == [
        "val-steel-damascus",
        "val-steel-440c",
    ]
    assert [value["label"] for value in body(plan, Kind.OPTION_LISTS, "unit-Weight")["values"]] == [
        "Gram",
        "KILOGRAM",
    ]
    assert [value["alias"] for value in body(plan, Kind.OPTION_LISTS, "finish")["values"]] == [
        "matt"
    ]
    attributes = {
        source: body(plan, Kind.ATTRIBUTES, source)
        for source in ("sku", "title", "story", "gtin", "blades", "mass", "cost", "uses")
    }
    assert {
        source: (said["type"], said["dimensionIds"], said["validation"])
        for source, said in attributes.items()
    } == {
        "sku": ("text", [], {"required": True, "unique": True}),
        "title": ("text", ["dim-locale"], {"maxLength": 80}),
        "story": ("text", ["dim-locale", "dim-channel"], {}),
        "gtin": ("text", [], {"unique": True, "pattern": r"^\d{13}$"}),
        "blades": ("number", [], {"min": 1.0, "max": 9.0}),
        "mass": ("complex", [], {}),
        "cost": ("number", ["dim-currency"], {}),
        "uses": ("option", [], {}),
    }
    assert attributes["uses"]["multiple"] is True
    amount, unit = attributes["mass"]["attributes"]
    assert (amount["validation"], unit["optionListId"]) == (
        {"required": True, "min": 0},
        "ol-unit-weight",
    )
    assert body(plan, Kind.ATTRIBUTES, "GOES_WITH-products")["type"] == "relation"


def test_publishing_asks_for_what_some_channel_requires_and_review_for_what_all_do(
    catalogue_folder,
):
    plan = planned(catalogue_folder, row(sku="a", family="knives"))
    workflow = body(plan, Kind.WORKFLOWS, "knives")
    assert {state["id"]: state["required"] for state in workflow["states"]} == {
        "state-draft": ["attr-sku"],
        "state-review": ["attr-sku", "attr-title"],
        "state-published": ["attr-sku", "attr-title", "attr-story", "attr-steel"],
    }
    gates = {
        (step["fromStateId"], step["toStateId"]): step.get("requiresCompleteness")
        for step in workflow["transitions"]
    }
    assert gates[("state-review", "state-published")] == 80
    assert gates[("state-draft", "state-review")] is None
    assert plan.left["requirements of only some channels (required for publishing)"] == 2


def test_a_schema_has_the_familys_groups_and_a_place_for_what_stands_outside_it(catalogue_folder):
    plan = planned(
        catalogue_folder, row(sku="a", family="spoons", steel="440C"), row(sku="b", blades="2")
    )
    schema = body(plan, Kind.SCHEMAS, "spoons")
    assert (schema["workflowId"], schema["variantEnabled"]) == ("wf-spoons", False)
    assert [(g["name"], g["attributeIds"]) for g in schema["attributeGroups"]] == [
        ("Main", ["attr-sku", "attr-title"]),
        ("Outside the family", ["attr-steel"]),
        ("Akeneo", ["attr-enabled", "attr-groups"]),
        ("Associations", ["attr-goes_with-products", "attr-goes_with-groups"]),
    ]
    without = body(plan, Kind.SCHEMAS, "without-family")
    assert [g["attributeIds"] for g in without["attributeGroups"]][:2] == [
        ["attr-sku"],
        ["attr-blades"],
    ]
    assert [record.schema_id for record in records(plan)] == [
        "schema-spoons",
        "schema-without-family",
    ]
    assert body(plan, Kind.SCHEMAS, "knives")["variantEnabled"] is True


def test_what_has_no_place_is_counted_and_files_that_are_not_read_are_named(catalogue_folder):
    plan = planned(catalogue_folder, row(sku="a", family="knives", photo="files/a.jpg"))
    assert {
        "labels in locales that no channel uses": 1,
        "families' choice of an attribute as label": 2,
        "attribute setting decimals_allowed=0": 1,
    }.items() <= plan.left.items()
    assert any("jobs.yml" in note for note in plan.notes)
    assert only(plan).left == {
        "references to files (no --media-base-url says where they are)": (1, 1)
    }


def test_a_cell_that_does_not_fit_is_refused_with_its_place_and_the_rest_is_moved(
    catalogue_folder,
):
    plan = planned(
        catalogue_folder,
        row(
            sku="a",
            family="knives",
            blades="two",
            mass="1",
            mass_unit="STONE_AGE",
            rusts="maybe",
            forged_web="20/04/2012",
            steel="tin",
            uses="bread,butter",
            title_en_US="Knife",
        ),
    )
    record = only(plan)
    # The unit of a metric is declared by its use; so this one is known.
    assert record.values["mass"][0].value["unit"] == "val-unit-weight-stone_age"
    assert record.values["title"][0].value == "Knife"
    assert [(p.line, p.columns, p.attribute, p.message) for p in record.problems] == [
        (2, ("blades",), "blades", "'two' is not a number"),
        (2, ("rusts",), "rusts", "'maybe' is neither 1 nor 0"),
        (2, ("forged-web",), "forged", "'20/04/2012' is not a date such as 2012-04-20"),
        (2, ("steel",), "steel", "'tin' is not a declared option"),
        (2, ("uses",), "uses", "'butter' is not a declared option"),
    ]
    assert record.cells + 5 + 3 == plan.filled_cells


def test_a_unit_without_its_amount_is_refused_and_an_amount_without_unit_is_not(catalogue_folder):
    plan = planned(
        catalogue_folder,
        row(sku="a", family="knives", mass_unit="GRAM"),
        row(sku="b", family="knives", mass="7"),
    )
    first, second = records(plan)
    assert [(p.columns, p.message) for p in first.problems] == [
        (("mass-unit",), "is a unit without an amount")
    ]
    assert plain(second)["mass"] == [({}, {"amount": 7})]


def test_amounts_may_stand_in_one_cell_with_their_units_and_currencies(catalogue_folder):
    plan = planned(
        catalogue_folder,
        '"a";"12 KILOGRAM";"5 EUR, 6.5 USD"',
        '"b";"1";"5 GBP"',
        header="sku;mass;cost",
    )
    first, second = records(plan)
    assert plain(first)["mass"] == [({}, {"amount": 12, "unit": "val-unit-weight-kilogram"})]
    assert plain(first)["cost"] == [
        ({"dim-currency": "seg-eur"}, 5),
        ({"dim-currency": "seg-usd"}, 6.5),
    ]
    assert first.cells + second.cells + len(second.problems) + 3 == plan.filled_cells == 9
    assert second.problems[0].message == "no channel uses currency 'GBP'"


def test_a_file_that_is_not_there_is_refused_when_the_files_are_at_hand(catalogue_folder):
    (catalogue_folder / "files").mkdir()
    (catalogue_folder / "files" / "a.jpg").touch()
    plan = planned(
        catalogue_folder,
        row(sku="a", family="knives", photo="files/a.jpg"),
        row(sku="b", family="knives", photo="files/b.jpg"),
        row(sku="c", family="knives", photo="https://elsewhere.example/c.jpg"),
        media_base_url="https://cdn.example/",
    )
    first, second, third = records(plan)
    assert plain(first)["photo"] == [({}, "https://cdn.example/files/a.jpg")]
    assert second.problems[0].message == "file 'files/b.jpg' is not in the catalogue's folder"
    assert plain(third)["photo"] == [({}, "https://elsewhere.example/c.jpg")]


def test_an_attribute_of_an_unknown_type_is_refused_and_so_are_its_cells(catalogue_folder):
    attributes = FILES["attributes.csv"].replace("pim_catalog_boolean", "pim_catalog_table")
    (catalogue_folder / "attributes.csv").write_text(attributes, encoding="utf-8")
    plan = planned(catalogue_folder, row(sku="a", family="knives", rusts="1"))
    assert [(p.kind, p.source, p.message) for p in plan.problems] == [
        (Kind.ATTRIBUTES, "rusts", "type 'pim_catalog_table' is not supported")
    ]
    assert [p.columns for p in only(plan).problems] == [("rusts",)]
    schema = body(plan, Kind.SCHEMAS, "knives")
    assert all("attr-rusts" not in group["attributeIds"] for group in schema["attributeGroups"])


def test_chosen_defaults_win_and_must_exist(catalogue_folder):
    plan = planned(catalogue_folder, row(sku="a", title_en_US="x"), default_locale="fr_FR")
    assert body(plan, Kind.DIMENSIONS, "locale")["defaultSegmentId"] == "seg-fr_fr"
    # Names come from the labels of the default locale, where there is one.
    assert body(plan, Kind.ATTRIBUTES, "title")["name"] == "Titre"
    assert body(plan, Kind.ATTRIBUTES, "story")["name"] == "Story"
    with pytest.raises(UnreadableCatalogue, match="no channel has locale 'de_DE'"):
        planned(catalogue_folder, row(sku="a"), default_locale="de_DE")


def test_a_prefix_keeps_everything_apart(catalogue_folder):
    plan = planned(catalogue_folder, row(sku="a", family="knives"), names=Names("old-"))
    assert all("-old-" in one.id for one in plan.model)
    assert all(str(one.body["alias"]).startswith("old-") for one in plan.model)
    assert (only(plan).id, only(plan).schema_id) == ("ent-old-a", "schema-old-knives")
    assert list(only(plan).values) == ["old-sku"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("channels.csv", None, "does not contain channels.csv"),
        (
            "families.csv",
            b"code;label-en_US\nx;y\n\xe9t\xe9;x\n",
            "is not UTF-8: line 3 has '\ufffdt\ufffd;x'. Export it again as UTF-8",
        ),
        ("families.csv", b'code;a\n"open;x\n', "line 2 is not valid CSV"),
        ("families.csv", b"code;a;a\n", "has column a twice"),
        ("attributes.csv", b"code;type\nx;pim_catalog_text\n", "has no identifier attribute"),
        ("channels.csv", b"code;locales\nweb;\n", "names no locale"),
        ("measurement-families.json", b"{}", None),
        ("measurement-families.json", b"[1]", "is not a list of measurement families"),
        (
            "products.csv",
            b"title-en_US\nx\n",
            "has no column of an identifier; identifiers are sku",
        ),
    ],
)
def test_a_folder_that_cannot_be_read_says_which_file_and_why(
    catalogue_folder, name, content, message
):
    (catalogue_folder / "products.csv").write_text("sku\na\n")
    if content is None:
        (catalogue_folder / name).unlink()
    else:
        (catalogue_folder / name).write_bytes(content)
    if message is None:
        plan_of(catalogue_folder, Settings())
        return
    with pytest.raises(UnreadableCatalogue, match=message):
        plan_of(catalogue_folder, Settings())


def test_a_catalogue_without_products_has_a_data_model(catalogue_folder):
    (catalogue_folder / "products.csv").write_bytes(b"")
    plan = plan_of(catalogue_folder, Settings())
    assert {plan.file_of(one) for one in plan.records()} == {"product_models.csv"}
    assert {one.source for one in plan.model if one.kind is Kind.SCHEMAS} >= {"knives"}


def test_orphan_options_and_unknown_attributes_of_a_family_are_told(catalogue_folder):
    with (catalogue_folder / "attribute_options.csv").open("a") as file:
        file.write("gone;Gone;;handle;1\n")
    families = FILES["families.csv"].replace("sku,title;title", "sku,title,handle;title")
    (catalogue_folder / "families.csv").write_text(families)
    plan = planned(catalogue_folder, row(sku="a"))
    assert [(p.kind, p.source, p.file, p.line) for p in plan.problems] == [
        (Kind.OPTION_LISTS, "handle", "attribute_options.csv", 6),
        (Kind.SCHEMAS, "spoons", "families.csv", None),
    ]


def test_association_columns_other_than_products_are_accounted_for(catalogue_folder):
    (catalogue_folder / "products.csv").write_text("sku\na\n")
    columns = understand(
        ["GOES_WITH-products", "goes_with-product_models", "GOES_WITH-nonsense"],
        read_catalogue(catalogue_folder),
    )
    assert [(column.role, column.about) for column in columns] == [
        (Role.ASSOCIATION, "GOES_WITH"),
        (Role.ASSOCIATION, "GOES_WITH"),
        (Role.UNKNOWN, "the catalogue has no attribute 'GOES_WITH'"),
    ]
    plan = planned(
        catalogue_folder,
        "a;BIG-set,m-2;3;u-1",
        header="sku;GOES_WITH-product_models;GOES_WITH-products-quantity;GOES_WITH-product_uuids",
    )
    record = only(plan)
    assert record.left == {
        "quantities of associations": (1, 1),
    }
    assert record.links["GOES_WITH-product_models"].targets == {
        "model-big-set": "BIG-set",
        "model-m-2": "m-2",
    }
    relations = body(plan, Kind.ATTRIBUTES, "GOES_WITH-product_models")
    assert (relations["type"], relations["multiple"]) == ("relation", True)
    assert [p.message for p in record.problems] == [
        "associations by product_uuids are not supported"
    ]

"""The demo catalogue: the model of a small clothing shop, and its products.

Identifiers, aliases and the editor's permissions are those that the public documentation uses in
its examples. The products are invented; they stand in `products.json`, in English and Danish.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

Body = dict[str, Any]

LANGUAGE, MARKET = "dim-language", "dim-market"
APPAREL, FOOTWEAR = "schema-apparel", "schema-footwear"
WORKFLOW = "wf-product-lifecycle"
ADMIN, EDITOR = "role-admin", "role-editor"
DRAFT, REVIEW, PUBLISHED = "state-draft", "state-review", "state-published"

_SCOPE_OF = {
    **dict.fromkeys(("en", "da", "sv"), LANGUAGE),
    **dict.fromkeys(("dk", "se", "no"), MARKET),
}


def _segments(default: str, names: dict[str, str]) -> Body:
    return {
        "defaultSegmentId": f"seg-{default}",
        "segments": [
            {"id": f"seg-{alias}", "alias": alias, "name": name, "isDefault": alias == default}
            for alias, name in names.items()
        ],
    }


DIMENSIONS: tuple[Body, ...] = (
    {"id": LANGUAGE, "alias": "language", "name": "Language"}
    | _segments("en", {"en": "English", "da": "Danish", "sv": "Swedish"}),
    {"id": MARKET, "alias": "market", "name": "Market"}
    | _segments("dk", {"dk": "Denmark", "se": "Sweden", "no": "Norway"}),
)


def _values(labels: dict[str, str], more: dict[str, Body] | None = None) -> list[Body]:
    return [
        {"id": f"val-{alias}", "alias": alias, "label": label, "sortOrder": place}
        | (more or {}).get(alias, {})
        for place, (alias, label) in enumerate(labels.items(), start=1)
    ]


_COLORS = {
    "red": "#b91c1c",
    "blue": "#1d4ed8",
    "green": "#15803d",
    "navy": "#1e3a5f",
    "black": "#111111",
    "white": "#fafafa",
    "grey": "#9ca3af",
    "sand": "#d6c7a1",
    "olive": "#6b7038",
    "brown": "#6b4226",
    "yellow": "#f2c230",
}
CLOTHING = {"tops": "Tops", "jackets": "Jackets", "knitwear": "Knitwear"}
CLOTHING |= {"trousers": "Trousers", "dresses": "Dresses"}
SHOES = {"boots": "Boots", "sneakers": "Sneakers", "sandals": "Sandals and slippers"}

OPTION_LISTS: tuple[Body, ...] = (
    {
        "id": "ol-colors",
        "alias": "colors",
        "name": "Colours",
        "hierarchical": False,
        "values": _values(
            {alias: alias.capitalize() for alias in _COLORS},
            {alias: {"color": color} for alias, color in _COLORS.items()},
        ),
    },
    {
        "id": "ol-categories",
        "alias": "categories",
        "name": "Categories",
        "hierarchical": True,
        "values": _values(
            {"clothing": "Clothing"} | CLOTHING | {"shoes": "Shoes"} | SHOES,
            {alias: {"parentId": "val-clothing"} for alias in CLOTHING}
            | {alias: {"parentId": "val-shoes"} for alias in SHOES},
        ),
    },
    {
        "id": "ol-sizes",
        "alias": "sizes",
        "name": "Sizes",
        "hierarchical": False,
        "values": _values({"xs": "XS", "s": "S", "m": "M", "l": "L", "xl": "XL"}),
    },
    {
        "id": "ol-shoe-sizes",
        "alias": "shoe-sizes",
        "name": "Shoe sizes",
        "hierarchical": False,
        "values": _values({f"eu-{size}": f"EU {size}" for size in range(36, 47)}),
    },
    {
        "id": "ol-seasons",
        "alias": "seasons",
        "name": "Seasons",
        "hierarchical": False,
        "values": _values(
            {name: name.capitalize() for name in ("spring", "summer", "autumn", "winter")}
        ),
    },
    {
        "id": "ol-care",
        "alias": "care",
        "name": "Care",
        "hierarchical": False,
        "values": _values(
            {
                "wash-30": "Wash at 30 °C",
                "wash-40": "Wash at 40 °C",
                "wool-wash": "Wool programme",
                "hand-wash": "Wash by hand",
                "dry-flat": "Dry flat",
                "tumble-low": "Tumble dry, low",
                "dry-clean": "Dry clean",
                "wipe": "Wipe with a damp cloth",
                "brush": "Brush",
            }
        ),
    },
)


def _attribute(alias: str, name: str, kind: str = "text", **more: Any) -> Body:
    return {"id": f"attr-{alias}", "alias": alias, "name": name, "type": kind, **more}


ATTRIBUTES: tuple[Body, ...] = (
    _attribute(
        "product-name",
        "Product name",
        dimensionIds=[LANGUAGE],
        validation={"required": True, "maxLength": 120},
    ),
    _attribute(
        "sku",
        "SKU",
        description="Two capital letters and three digits",
        validation={"required": True, "unique": True, "pattern": r"^[A-Z]{2}-\d{3}$"},
        inheritable=False,
    ),
    _attribute(
        "gtin",
        "GTIN",
        description="The number below the bar code",
        validation={"unique": True, "pattern": r"^\d{13}$"},
        inheritable=False,
    ),
    _attribute("category", "Category", "option", optionListId="ol-categories"),
    _attribute("season", "Season", "option", optionListId="ol-seasons"),
    _attribute(
        "description", "Description", dimensionIds=[LANGUAGE], validation={"maxLength": 2000}
    ),
    _attribute("material", "Material", dimensionIds=[LANGUAGE], validation={"maxLength": 200}),
    _attribute(
        "composition",
        "Composition",
        "complex",
        description="The fibres of the outer fabric, in percent",
        attributes=[
            {"alias": "fibre", "name": "Fibre", "type": "text", "validation": {"required": True}},
            {
                "alias": "share",
                "name": "Share in percent",
                "type": "number",
                "validation": {"required": True, "min": 0, "max": 100},
            },
        ],
    ),
    _attribute("recycled", "Recycled material", "boolean"),
    _attribute(
        "certificate",
        "Certificate",
        description="Asked for when the material is recycled",
        guards=[{"attributeId": "attr-recycled", "operator": "equals", "value": True}],
    ),
    _attribute("color", "Colour", "option", optionListId="ol-colors", multiple=True),
    _attribute("sizes", "Sizes", "option", optionListId="ol-sizes", multiple=True),
    _attribute("shoe-sizes", "Shoe sizes", "option", optionListId="ol-shoe-sizes", multiple=True),
    _attribute("care", "Care", "option", optionListId="ol-care", multiple=True),
    _attribute("sole", "Sole", dimensionIds=[LANGUAGE], validation={"maxLength": 200}),
    _attribute("waterproof", "Waterproof", "boolean"),
    _attribute("price", "Price", "number", dimensionIds=[MARKET], validation={"min": 0}),
    _attribute("weight", "Weight in grams", "number", validation={"min": 1, "max": 20_000}),
    _attribute("available-from", "Available from", "datetime"),
    _attribute("image", "Picture", "media"),
    _attribute("goes-with", "Goes with", "relation", multiple=True),
    _attribute("internal-note", "Internal note", validation={"maxLength": 1000}),
)


def _group(alias: str, name: str, order: int, attributes: Sequence[str]) -> Body:
    ids = [f"attr-{attribute}" for attribute in attributes]
    return {"id": f"grp-{alias}", "name": name, "sortOrder": order, "attributeIds": ids}


_GENERAL = _group("general", "General", 1, ("product-name", "sku", "gtin", "category", "season"))
_COMMERCE = _group("commerce", "Price and sale", 3, ("price", "weight", "available-from"))
_MEDIA = _group("media", "Pictures and relations", 4, ("image", "goes-with"))
_INTERNAL = _group("internal", "Internal", 5, ("internal-note",))
_TEXTS = ("description", "material", "composition", "recycled", "certificate", "color", "care")

SCHEMAS: tuple[Body, ...] = (
    {
        "id": APPAREL,
        "alias": "apparel",
        "name": "Apparel",
        "description": "Clothes: jackets, tops, knitwear, trousers and dresses",
        "icon": "shirt",
        "variantEnabled": True,
        "workflowId": WORKFLOW,
        "attributeGroups": [
            _GENERAL,
            _group("details", "Details", 2, (*_TEXTS, "sizes")),
            _COMMERCE,
            _MEDIA,
            _INTERNAL,
        ],
    },
    {
        "id": FOOTWEAR,
        "alias": "footwear",
        "name": "Footwear",
        "description": "Boots, sneakers, sandals and slippers",
        "icon": "footprints",
        "variantEnabled": True,
        "workflowId": WORKFLOW,
        "attributeGroups": [
            _GENERAL,
            _group("details", "Details", 2, (*_TEXTS, "sole", "waterproof", "shoe-sizes")),
            _COMMERCE,
            _MEDIA,
            _INTERNAL,
        ],
    },
)

CATALOG = "cat-webshop"
EDITOR_ROLE: Body = {
    "id": EDITOR,
    "name": "Editor",
    "description": "Writes content; sees prices and does not change them",
    "canExport": True,
    "catalogPermissions": [{"catalogId": CATALOG, "canView": True, "canAssign": True}],
    "schemaPermissions": [
        {"schemaId": schema, "attributePermissions": {"*": "write", "attr-price": "read"}}
        for schema in (APPAREL, FOOTWEAR)
    ],
}

_FOR_REVIEW = ["product-name", "sku", "description", "price", "material", "category", "color"]


def _ids(aliases: Sequence[str]) -> list[str]:
    return [f"attr-{alias}" for alias in aliases]


LIFECYCLE: Body = {
    "id": WORKFLOW,
    "alias": "product-lifecycle",
    "name": "Product lifecycle",
    "description": "Editors write, and hand over what is nearly complete; administrators publish",
    "defaultStateId": DRAFT,
    "states": [
        {
            "id": DRAFT,
            "alias": "draft",
            "name": "Draft",
            "color": "#9ca3af",
            "required": _ids(["product-name", "sku"]),
        },
        {
            "id": REVIEW,
            "alias": "review",
            "name": "Review",
            "color": "#f59e0b",
            "required": _ids(_FOR_REVIEW),
        },
        {
            "id": PUBLISHED,
            "alias": "published",
            "name": "Published",
            "color": "#22c55e",
            "required": _ids([*_FOR_REVIEW, "image"]),
            "readOnly": _ids(["sku"]),
            "hidden": _ids(["internal-note"]),
        },
    ],
    "transitions": [
        {
            "name": "Hand over",
            "fromStateId": DRAFT,
            "toStateId": REVIEW,
            "allowedRoleIds": [ADMIN, EDITOR],
            "requiresCompleteness": 80,
        },
        {
            "name": "Send back",
            "fromStateId": REVIEW,
            "toStateId": DRAFT,
            "allowedRoleIds": [ADMIN, EDITOR],
        },
        {
            "name": "Publish",
            "fromStateId": REVIEW,
            "toStateId": PUBLISHED,
            "allowedRoleIds": [ADMIN],
            "requiresCompleteness": 100,
        },
        {
            "name": "Withdraw",
            "fromStateId": PUBLISHED,
            "toStateId": REVIEW,
            "allowedRoleIds": [ADMIN],
        },
    ],
}


def products() -> Iterator[tuple[Body, str]]:
    """Each record as the API takes it, and the state that it is moved to.

    A relation names only records that come before it.
    """
    for row in json.loads((Path(__file__).parent / "products.json").read_text()):
        values = {alias: _entries(value) for alias, value in row["values"].items()}
        yield {"id": row["id"], "schemaId": row["schemaId"], "values": values}, row["state"]


def variants() -> Iterator[tuple[str, Body]]:
    """The id of the record and the body of each variant, parents first."""
    for row in json.loads((Path(__file__).parent / "products.json").read_text()):
        for one in row.get("variants", ()):
            values = {alias: _entries(value) for alias, value in one["values"].items()}
            yield row["id"], {"id": one["id"], "parentId": one["parentId"], "values": values}


def _entries(value: Any) -> list[Body]:
    """`{"en": x, "da": y}` by language, `{"dk": x}` by market, anything else for everyone."""
    if not isinstance(value, dict):
        return [{"scope": {}, "value": value}]
    return [
        {"scope": {_SCOPE_OF[segment]: f"seg-{segment}"}, "value": one}
        for segment, one in value.items()
    ]

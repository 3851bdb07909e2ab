"""Examples for the API description, taken from the demo catalogue.

A test sends each body to a workspace that holds the catalogue, and compares the forms of answers.
Fields that are null in an answer are added by the generator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from deploy.local import catalogue, web_shop
from deploy.openapi.bulk_examples import BULK, OPTIONS
from deploy.openapi.change_set_examples import CHANGE_SETS
from deploy.openapi.history_examples import history_examples
from deploy.openapi.preview_examples import PREVIEWS
from deploy.openapi.schemas import Examples
from deploy.openapi.search_examples import search_examples
from deploy.openapi.session_examples import ADMIN, SESSIONS
from deploy.openapi.variants import VARIANTS

_Json = dict[str, Any]

_CREATED_AT: Final = "2026-02-01T09:30:00.000Z"
_UPDATED_AT: Final = "2026-02-03T14:05:12.480Z"
_TIMES: Final = {"createdAt": _CREATED_AT, "updatedAt": _UPDATED_AT}
_PRODUCT: Final = next(body for body, _ in catalogue.products())


def _named(bodies: tuple[_Json, ...], body_id: str) -> _Json:
    return next(body for body in bodies if body["id"] == body_id)


def _role(body: _Json) -> _Json:
    flags = ("ManageSchemas", "ManageRoles", "ManageDimensions", "ManageOptionLists", "Export")
    nothing: _Json = {f"can{flag}": False for flag in (*flags, "Import")} | {
        "schemaPermissions": [],
        "catalogPermissions": [],
    }
    return nothing | body | _TIMES


def _option_list(body: _Json) -> _Json:
    return body | {"valueCount": len(body["values"]), "valuesComplete": True} | _TIMES


def _attribute(body: _Json) -> _Json:
    usual = {"dimensionIds": [], "validation": {}, "guards": [], "inheritable": True}
    return usual | {"multiple": False, "filterable": False} | body | _TIMES


def _transition(body: _Json, place: int) -> _Json:
    return {"id": f"trn-{place}", "allowedRoleIds": []} | body


def _workflow(body: _Json) -> _Json:
    names: _Json = {"labels": {}, "externalKey": None}
    lists: _Json = names | {"hidden": [], "required": [], "readOnly": []}
    return (
        names
        | body
        | {
            "states": [lists | state for state in body["states"]],
            "transitions": [
                _transition(each, place) for place, each in enumerate(body["transitions"], start=1)
            ],
        }
        | _TIMES
    )


def _record(body: _Json, state: str = catalogue.DRAFT) -> _Json:
    return {
        "externalKey": None,
        "lifecycleStateId": state,
        "version": 3,
        "createdBy": ADMIN["id"],
        "updatedBy": ADMIN["id"],
        **_TIMES,
        **body,
    }


def _crud(one: str, made: _Json, kept: _Json, answered: Any, several: str = "") -> Any:
    """The four operations with bodies of one kind; `made` is new, `kept` is in the catalogue."""
    return {
        f"list{several or one + 's'}": Examples(answered=[answered(kept)]),
        f"create{one}": Examples(made, answered(made)),
        f"get{one}": Examples(answered=answered(kept)),
        f"replace{one}": Examples(kept, answered(kept)),
    }


_TRANSLATOR: Final[_Json] = {
    "id": "role-translator",
    "name": "Translator",
    "description": "Writes texts, and sees everything else",
    "schemaPermissions": [
        {
            "schemaId": catalogue.APPAREL,
            "attributePermissions": {
                "*": "read",
                "attr-product-name": "write",
                "attr-description": "write",
            },
        }
    ],
}
_KEY: Final[_Json] = {
    "id": "apikey-sync-prod",
    "name": "Nightly sync",
    "permissions": ["read"],
}
_NEW_KEY: Final[_Json] = {"name": "Shop import", "permissions": ["read", "update-data"]}
_ACTIVE: Final[_Json] = {"active": True, "createdAt": _CREATED_AT}
_CHANNEL: Final[_Json] = {
    "id": "dim-channel",
    "alias": "channel",
    "name": "Channel",
    "defaultSegmentId": "seg-shop",
    "segments": [
        {"id": "seg-shop", "alias": "shop", "name": "Online shop", "isDefault": True},
        {"id": "seg-print", "alias": "print", "name": "Printed catalogue", "isDefault": False},
    ],
}
_FABRICS: Final[_Json] = {
    "id": "ol-fabrics",
    "alias": "fabrics",
    "name": "Fabrics",
    "hierarchical": False,
    "values": [
        {"id": "val-linen", "alias": "linen", "label": "Linen", "sortOrder": 1},
        {"id": "val-wool", "alias": "wool", "label": "Wool", "sortOrder": 2},
    ],
}
_RED: Final = _named(catalogue.OPTION_LISTS, "ol-colors")["values"][0]
_CORAL: Final[_Json] = {
    "id": "val-coral",
    "alias": "coral",
    "label": "Coral",
    "labels": {"seg-da": "Koral"},
    "externalKey": "coral (2027)",
    "sortOrder": 12,
    "color": "#ff7f50",
}
_CARE_TEXT: Final[_Json] = {
    "id": "attr-care-text",
    "alias": "care-text",
    "name": "Care instructions",
    "labels": {"seg-da": "Vaskeanvisning", "seg-sv": "Skötselråd"},
    "externalKey": "CARE_TEXT/EU",
    "type": "text",
    "dimensionIds": [catalogue.LANGUAGE],
    "validation": {"maxLength": 500},
}
_NAMES: Final[_Json] = {"labels": {}, "externalKey": None}
_OUTLET: Final[_Json] = {
    "id": "cat-outlet",
    "alias": "outlet",
    "name": "Outlet",
    "description": "What is left of last season",
}
_NEW_CATEGORY: Final[_Json] = {
    "id": "ctg-rainwear",
    "parentId": "ctg-clothing",
    "alias": "rainwear",
    "name": "Rainwear",
    "labels": {"seg-da": "Regntøj"},
    "description": "What keeps the rain out",
    "sortOrder": 2.5,
}


def _category(body: _Json) -> _Json:
    more = {"catalogId": catalogue.CATALOG, "description": None}
    return _NAMES | more | body | _TIMES


_JACKETS: Final = _category(_named(web_shop.CATEGORIES, "ctg-jackets"))
_CLOTHING: Final = _category(_named(web_shop.CATEGORIES, "ctg-clothing"))
_PRICE: Final = _named(catalogue.ATTRIBUTES, "attr-price")
_BAGS: Final[_Json] = {
    "id": "schema-bags",
    "alias": "bags",
    "name": "Bags",
    "description": "Bags and rucksacks",
    "icon": "backpack",
    "variantEnabled": False,
    "workflowId": catalogue.WORKFLOW,
    "attributeGroups": [
        {
            "id": "grp-bags",
            "name": "General",
            "sortOrder": 1,
            "attributeIds": ["attr-product-name", "attr-sku", "attr-price"],
        }
    ],
}
_SIMPLE: Final[_Json] = {
    "id": "wf-simple",
    "alias": "simple",
    "name": "Simple",
    "description": "Complete records may be published",
    "defaultStateId": "state-hidden",
    "states": [
        {"id": "state-hidden", "alias": "hidden", "name": "Hidden", "color": "#9ca3af"},
        {
            "id": "state-shown",
            "alias": "shown",
            "name": "Shown",
            "color": "#22c55e",
            "required": ["attr-product-name", "attr-price"],
        },
    ],
    "transitions": [
        {
            "id": "trn-show",
            "name": "Show",
            "fromStateId": "state-hidden",
            "toStateId": "state-shown",
            "allowedRoleIds": [catalogue.ADMIN, catalogue.EDITOR],
            "requiresCompleteness": 100,
        }
    ],
}


def _entry(value: Any, **segments: str) -> _Json:
    return {
        "scope": {f"dim-{dimension}": f"seg-{s}" for dimension, s in segments.items()},
        "value": value,
    }


_SHIRT: Final[_Json] = {
    "id": "ent-linen-shirt",
    "schemaId": catalogue.APPAREL,
    "values": {
        "product-name": [
            _entry("Linen Shirt", language="en"),
            _entry("Hørskjorte", language="da"),
        ],
        "sku": [_entry("LS-901")],
        "price": [_entry(549, market="dk"), _entry(799, market="se")],
        "color": [_entry(["val-white", "val-sand"])],
    },
}
_NEW_VALUES: Final[_Json] = {
    "product-name": [
        _entry("Coastal Windbreaker II", language="en"),
        _entry("Coastal vindjakke II", language="da"),
    ],
    "price": [_entry(949, market="dk")],
}
_CHANGED: Final = _PRODUCT | {"values": _PRODUCT["values"] | _NEW_VALUES}
_PRICED: Final = _PRODUCT | {
    "values": _PRODUCT["values"]
    | {
        "price": [
            _entry(899, market="dk"),
            _entry(1299, market="se"),
            _entry(1389, market="no"),
        ]
    }
}
_PAGE: Final = {"total": 1, "offset": 0, "limit": 50, "nextCursor": None}
_TEXTS: Final = ("product-name", "sku", "description", "price", "material", "category", "color")
_FOR_STATES: Final = {
    catalogue.DRAFT: ("product-name", "sku"),
    catalogue.REVIEW: _TEXTS,
    catalogue.PUBLISHED: (*_TEXTS, "image"),
}


def _complete(state: str) -> _Json:
    return {
        "stateId": state,
        "score": 100,
        "filled": list(_FOR_STATES[state]),
        "missing": [],
        "missingIn": [],
    }


EXAMPLES: Final[Mapping[str, Examples]] = {
    "getHealth": Examples(answered={"status": "ok"}),
    **SESSIONS,
    **_crud("Role", _TRANSLATOR, catalogue.EDITOR_ROLE, _role),
    "resolveRole": Examples(
        {"schemaId": catalogue.APPAREL, "attributeIds": ["attr-product-name", "attr-price"]},
        {
            "roleId": catalogue.EDITOR,
            "schemaId": catalogue.APPAREL,
            "permissions": {"attr-product-name": "write", "attr-price": "read"},
        },
    ),
    "explainPermission": Examples(
        {
            "roleId": catalogue.EDITOR,
            "action": "write",
            "entityId": "ent-coastal-wb",
            "attribute": "price",
        },
        {
            "allowed": False,
            "decidedBy": "role",
            "reasons": [
                {"source": "role", "rule": "Every role may do this", "effect": "allow"},
                {
                    "source": "role",
                    "rule": "The role says 'read' of attribute 'attr-price' in its entry for"
                    " 'schema-apparel'",
                    "effect": "deny",
                },
            ],
        },
    ),
    "listApiKeys": Examples(answered=[_KEY | _ACTIVE]),
    "createApiKey": Examples(
        _NEW_KEY,
        {"id": "apikey-7k2m9q4w1x8z3v6t5r0p", **_NEW_KEY, **_ACTIVE, "key": "sigma_sk_live_…"},
    ),
    "deactivateApiKey": Examples(answered=_KEY | _ACTIVE | {"active": False}),
    **_crud(
        "Dimension",
        _CHANNEL,
        _named(catalogue.DIMENSIONS, catalogue.LANGUAGE),
        lambda body: body | _TIMES,
    ),
    "combineSegments": Examples(
        {"dimensionIds": [catalogue.LANGUAGE, catalogue.MARKET]},
        [
            {catalogue.LANGUAGE: f"seg-{language}", catalogue.MARKET: f"seg-{market}"}
            for language in ("en", "da", "sv")
            for market in ("dk", "se", "no")
        ],
    ),
    **_crud(
        "OptionList",
        _FABRICS,
        _named(catalogue.OPTION_LISTS, "ol-colors"),
        _option_list,
    ),
    "listOptions": Examples(answered={"items": [_RED], **_PAGE}),
    "bulkWriteOptions": OPTIONS,
    "addOption": Examples(_CORAL, _CORAL),
    "replaceOption": Examples(_RED, _RED),
    **_crud("Catalog", _OUTLET, web_shop.CATALOGS[0], lambda body: _NAMES | body | _TIMES),
    "getCatalogTree": Examples(answered=[_CLOTHING | {"children": [_JACKETS | {"children": []}]}]),
    "createCategory": Examples(_NEW_CATEGORY, _category(_NEW_CATEGORY)),
    "getCategory": Examples(answered=_JACKETS),
    "replaceCategory": Examples(_named(web_shop.CATEGORIES, "ctg-jackets"), _JACKETS),
    "listCategoryRecords": Examples(answered={"items": [_record(_PRODUCT)], **_PAGE}),
    "assignRecords": Examples(
        {"entityId": _PRODUCT["id"]}, {"categoryId": "ctg-jackets", "entityId": _PRODUCT["id"]}
    ),
    "unassignRecords": Examples(
        {"entityId": _PRODUCT["id"]}, {"categoryId": "ctg-jackets", "entityId": _PRODUCT["id"]}
    ),
    **_crud("Attribute", _CARE_TEXT, _PRICE, _attribute),
    **_crud(
        "Schema",
        _BAGS,
        _named(catalogue.SCHEMAS, catalogue.APPAREL),
        lambda body: body | _TIMES,
    ),
    "listSchemaAttributes": Examples(answered=[_attribute(_PRICE)]),
    **_crud("Workflow", _SIMPLE, catalogue.LIFECYCLE, _workflow),
    **search_examples({"items": [_record(_PRODUCT)], **_PAGE}),
    "listRecords": Examples(answered={"items": [_record(_PRODUCT)], **_PAGE}),
    "export": Examples(answered=[_record(_PRODUCT)]),
    "createRecord": Examples(_SHIRT, _record(_SHIRT)),
    "getRecord": Examples(answered=_record(_PRODUCT)),
    **BULK,
    "updateRecord": Examples({"values": _NEW_VALUES}, _record(_CHANGED)),
    "restoreVersion": Examples({"version": 1}, _record(_PRODUCT)),
    "setValue": Examples(_entry(1299, market="se"), _record(_PRICED)),
    "transitionRecord": Examples(
        {"toStateId": catalogue.REVIEW, "comment": "Texts and pictures are there"},
        _record(_PRODUCT, catalogue.REVIEW),
    ),
    "listTransitions": Examples(
        answered=[
            {"toStateId": catalogue.REVIEW, "name": "Hand over", "allowed": True, "reasons": []}
        ]
    ),
    "getCompleteness": Examples(
        answered={
            "entityId": _PRODUCT["id"],
            "required": len(_FOR_STATES[catalogue.DRAFT]),
            **_complete(catalogue.DRAFT),
            "states": [_complete(state) for state in _FOR_STATES],
        }
    ),
    **PREVIEWS,
    **CHANGE_SETS,
    **VARIANTS,
    **history_examples(_PRODUCT["id"], _UPDATED_AT, _PAGE),
}

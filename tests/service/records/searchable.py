"""A workspace with an attribute of each type, and what searches in it find."""

from __future__ import annotations

from typing import Any

from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller


def where(attribute: str, operator: str, value: Any = None, **more: Any) -> dict[str, Any]:
    return {"attribute": attribute, "operator": operator, "value": value, **more}


async def found(caller: Caller, *criteria: dict[str, Any], **more: Any) -> list[str]:
    """The ids of what a search finds, without their prefix; its total is right."""
    answer = (await caller.post("/search", {"criteria": list(criteria), **more})).ok()
    ids = [item["id"].removeprefix("ent-") for item in answer["items"]]
    assert answer["total"] == len(ids)
    return ids


async def searchable(workspace: RecordsWorkspace) -> RecordsWorkspace:
    """A workspace with an attribute of each type, for records `a`, `b`, ... of a test."""
    await workspace.dimension("language", ["en", "da"])
    colors = [
        {"id": "val-red", "alias": "red", "label": "Bright Red"},
        {"id": "val-blue", "alias": "blue", "label": "Blå"},
    ]
    body = {"id": "ol-colors", "alias": "colors", "name": "Colors", "values": colors}
    (await workspace.admin.post("/option-lists", body)).ok()
    await workspace.attribute("name")
    await workspace.attribute("title", dimensionIds=["dim-language"])
    await workspace.attribute("price", "number")
    await workspace.attribute("made", "datetime")
    await workspace.attribute("sold", "boolean")
    await workspace.attribute("color", "option", optionListId="ol-colors", multiple=True)
    await workspace.attribute("image", "media")
    await workspace.attribute("parent", "relation")
    await workspace.attribute(
        "size",
        "complex",
        attributes=[
            {"alias": "width", "type": "number"},
            {"alias": "unit", "type": "text"},
        ],
    )
    names = ["name", "title", "price", "made", "sold", "color", "image", "parent", "size"]
    await workspace.schema("x", names)
    await workspace.schema("bare", ["name"])
    return workspace


async def made(workspace: RecordsWorkspace, name: str, /, **values: Any) -> None:
    await workspace.record("schema-x", values, id=f"ent-{name}")

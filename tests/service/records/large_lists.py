"""An option list that is too large to be held in memory, and what chooses from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from records_service.option_lists.model import HELD_VALUES_MAX
from tests.kit.records_workspace import RecordsWorkspace

VALUES = "/option-lists/ol-large/values"


def option(name: str, **more: Any) -> dict[str, Any]:
    return {"id": f"val-{name}", "alias": name, "label": name.title(), **more}


async def add(workspace: RecordsWorkspace, options: Sequence[dict[str, Any]]) -> None:
    report = (await workspace.admin.post(f"{VALUES}/bulk", {"operations": options})).ok()
    assert report["created"] == len(options)


async def build(
    workspace: RecordsWorkspace, named: Sequence[dict[str, Any]] = (), **more: Any
) -> None:
    """`ol-large` with these options and so many others that it is large; schema x chooses from it.

    `brand` and `brands` choose one and several; `supplier` is an object with a `brand`.
    """
    await workspace.dimension("language", ["en", "da"])
    body = {"id": "ol-large", "alias": "large", "name": "Large", **more}
    (await workspace.admin.post("/option-lists", body)).ok()
    others = [option(f"o{n}", label=f"Other {n}") for n in range(HELD_VALUES_MAX + 1)]
    await add(workspace, [*named, *others])
    chosen = {"optionListId": "ol-large"}
    await workspace.attribute("brand", "option", **chosen)
    await workspace.attribute("brands", "option", multiple=True, **chosen)
    field = {"alias": "brand", "name": "Brand", "type": "option", **chosen}
    await workspace.attribute("supplier", "complex", attributes=[field])
    await workspace.attribute("name")
    await workspace.schema("x", ["brand", "brands", "supplier", "name"], variantEnabled=True)

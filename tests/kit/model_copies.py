"""Copies a data model from one workspace to another over the API, as a client would move it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.kit.sigma import Caller

KINDS: Final = ("dimensions", "option-lists", "attributes", "workflows", "schemas", "catalogs")
"""Each of these may name objects of those before it."""
_OF_THE_SERVER: Final = ("createdAt", "updatedAt", "filterableSince", "uniqueSince")

Callers = Callable[[str], Caller]
"""Who asks for the objects of a kind: in tests of a service, workflows are asked elsewhere."""


async def copy_model(source: Callers, target: Callers) -> None:
    """Everything that records stand on and lie in, as one workspace shows it, in an empty one."""
    for kind in KINDS:
        for one in (await source(kind).get(f"/{kind}")).ok():
            (await target(kind).post(f"/{kind}", one)).ok()
    for address, tree in (await _trees(source("catalogs"))).items():
        for category in tree:
            await _branch(target("catalogs"), address, category)


async def model_of(callers: Callers) -> dict[str, Any]:
    """What a workspace shows of its model, without when it was made."""
    shown = {kind: (await callers(kind).get(f"/{kind}")).ok() for kind in KINDS}
    plain: dict[str, Any] = _plain(shown | await _trees(callers("catalogs")))
    return plain


async def _trees(caller: Caller) -> dict[str, Any]:
    catalogs = (await caller.get("/catalogs")).ok()
    addresses = [f"/catalogs/{catalog['id']}" for catalog in catalogs]
    return {address: (await caller.get(f"{address}/tree")).ok() for address in addresses}


async def _branch(target: Caller, address: str, category: Mapping[str, Any]) -> None:
    (await target.post(f"{address}/categories", category)).ok()
    for below in category["children"]:
        await _branch(target, address, below)


def _plain(shown: Any) -> Any:
    if isinstance(shown, list):
        return [_plain(one) for one in shown]
    if isinstance(shown, dict):
        return {name: _plain(one) for name, one in shown.items() if name not in _OF_THE_SERVER}
    return shown

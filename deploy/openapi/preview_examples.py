"""Examples for previews of changes of the data model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from deploy.local import catalogue
from deploy.openapi.schemas import Examples

_Json = dict[str, Any]

_PRICE: Final = next(body for body in catalogue.ATTRIBUTES if body["id"] == "attr-price")
_COLORS: Final = next(body for body in catalogue.OPTION_LISTS if body["id"] == "ol-colors")
_APPAREL: Final = next(body for body in catalogue.SCHEMAS if body["id"] == catalogue.APPAREL)


def _answer(records: int, reason: str, **figures: Any) -> _Json:
    nothing = {
        "losingValues": 0,
        "failingValidation": 0,
        "uniqueConflicts": 0,
        "changingState": 0,
        "completeness": {"rising": 0, "falling": 0},
    }
    samples = [{"entityId": "ent-coastal-wb", "reason": reason}]
    return {"records": records, **nothing, **figures, "samples": samples, "complete": True}


def _with_a_note(state: _Json) -> _Json:
    if state["id"] != catalogue.DRAFT:
        return state
    return state | {"required": [*state["required"], "attr-internal-note"]}


PREVIEWS: Final[Mapping[str, Examples]] = {
    "previewSchema": Examples(
        _APPAREL | {"variantEnabled": False},
        _answer(42, "Has variants, and records of the schema could not have any", losingValues=1),
    ),
    "previewAttribute": Examples(
        _PRICE | {"validation": {"min": 0, "max": 500}},
        _answer(61, "Value for 'price' must be at most 500", failingValidation=23),
    ),
    "previewOptionList": Examples(
        _COLORS | {"values": _COLORS["values"][-1:]},
        _answer(
            61,
            "Has option 'val-navy' in 'color'",
            losingValues=58,
            failingValidation=58,
        ),
    ),
    "previewWorkflow": Examples(
        catalogue.LIFECYCLE | {"states": [_with_a_note(s) for s in catalogue.LIFECYCLE["states"]]},
        _answer(
            61,
            "Completeness would fall from 100 to 66",
            completeness={"rising": 0, "falling": 35},
        ),
    ),
}

"""Model objects for tests of pure rules: everything has a default, name what matters."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from records_service.attributes.model import Attribute, AttributeType, Validation
from records_service.dimensions.model import Dimension, Segment
from records_service.option_lists.model import OptionList, OptionValue
from records_service.schemas.model import Schema
from records_service.workflow_copies.model import WorkflowCopy


def an_attribute(
    attribute_id: str,
    alias: str | None = None,
    kind: AttributeType = AttributeType.TEXT,
    **fields: Any,
) -> Attribute:
    """A text attribute whose alias is its id without `attr-`."""
    given: dict[str, Any] = {
        "dimension_ids": (),
        "validation": Validation(),
        "guards": (),
        "inheritable": True,
        "option_list_id": None,
        "multiple": False,
        "target_schema_id": None,
        "attributes": (),
    }
    alias = alias or attribute_id.removeprefix("attr-")
    return Attribute(id=attribute_id, alias=alias, name=alias, type=kind, **given | fields)


def a_dimension(dimension_id: str, *segments: str) -> Dimension:
    """The first segment is the default one."""
    return Dimension(
        id=dimension_id,
        alias=dimension_id.removeprefix("dim-"),
        name=dimension_id,
        default_segment_id=f"seg-{segments[0]}",
        segments=tuple(Segment(id=f"seg-{s}", alias=s, name=s) for s in segments),
    )


def an_option_list(list_id: str, *options: str) -> OptionList:
    """Options with ids `val-...` and aliases."""
    return OptionList(
        id=list_id,
        alias=list_id.removeprefix("ol-"),
        name=list_id,
        hierarchical=False,
        values=tuple(
            OptionValue(
                id=f"val-{o}", alias=o, label=o.title(), sort_order=n, color=None, parent_id=None
            )
            for n, o in enumerate(options)
        ),
    )


def a_schema(schema_id: str, *attribute_ids: str, workflow_id: str | None = None) -> Schema:
    """A schema with these attributes, in this order."""
    return Schema(
        id=schema_id,
        alias=schema_id.removeprefix("schema-"),
        name=schema_id,
        variant_enabled=False,
        workflow_id=workflow_id,
        attribute_ids=attribute_ids,
    )


def a_workflow(workflow_id: str = "wf-simple", **states: dict[str, Any]) -> WorkflowCopy:
    """States by short name, in order; the first one is the default, each leads to the next."""
    ids = [f"state-{name}" for name in states]
    return WorkflowCopy.parse(
        {
            "id": workflow_id,
            "version": 1,
            "defaultStateId": ids[0],
            "states": [
                {"id": f"state-{name}", "name": name, **lists} for name, lists in states.items()
            ],
            "transitions": [
                {"fromStateId": start, "toStateId": end} for start, end in pairwise(ids)
            ],
        }
    )

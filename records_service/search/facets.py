"""Counts the values of what was found, for filters beside a list.

A record counts for a value if it has it in any scope, and if the caller sees it there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from records_service.attributes.model import AttributeType
from records_service.blueprint.blueprint import Blueprint
from records_service.catalogs.store import assignments_in_view
from records_service.permissions.rules import Role
from records_service.search.criteria import CATEGORY, Reader, Searched
from records_service.search.sql import Arguments, seen, values
from shared.errors import ValidationError, truncated

VALUES_MAX: Final = 100
_COLUMNS: Final = {"schemaId": "schema_id", "lifecycleStateId": "state_id"}
_COUNTED: Final = (AttributeType.OPTION, AttributeType.BOOLEAN)


@dataclass(frozen=True, slots=True)
class Facet:
    """What is counted; `target` is an attribute or the name of a field."""

    name: str
    target: Searched | str


def facets_of(names: Sequence[str], reader: Reader) -> list[Facet]:
    """What these names stand for. Raises `ValidationError`."""
    found = []
    for index, name in enumerate(dict.fromkeys(names)):
        at = f"/facets/{index}"
        if name in _COLUMNS or name == CATEGORY:
            found.append(Facet(name, name))
            continue
        target = reader.attribute(name, at)
        if target.type not in _COUNTED:
            raise ValidationError.at(
                at,
                f"Values of '{truncated(name)}' cannot be counted: expected an attribute of type"
                f" 'option' or 'boolean', got '{target.type.value}'",
            )
        found.append(Facet(name, target))
    return found


def statement(
    facets: Sequence[Facet], joined: str, condition: str, role: Role | None, arguments: Arguments
) -> str:
    """A SELECT of (facet, value, label, count) over all that the condition finds.

    The arguments of the condition are there already; those of the facets are appended.
    """
    columns, counts = [], []
    for number, facet in enumerate(facets):
        if isinstance(facet.target, Searched):
            visible = seen(facet.target.sight, arguments)
            attribute = arguments.name(facet.target.attribute.id, "text")
            held = f"{arguments.values_of('r')} -> {attribute}"
            columns.append(
                f", CASE WHEN {visible} THEN"
                f" jsonb_build_object({attribute}, {held}) END AS values_{number}"
            )
            source = values(facet.target, None, arguments, f"met.values_{number}")
            counted = f"SELECT DISTINCT met.id, v.v #>> '{{}}' AS value FROM met, {source}"  # noqa: S608
        else:
            counted = counted_elsewhere(facet.target, role, arguments)
        counts.append(top_values(number, facet, counted))
    return f"""
        WITH met AS MATERIALIZED (
            SELECT r.id, r.schema_id, {arguments.state} AS state_id{"".join(columns)}
              FROM records r {joined}
             WHERE r.workspace_id = $1 AND {condition}
        )
        SELECT * FROM ({" UNION ALL ".join(counts)}) AS counted
        ORDER BY facet, count DESC, value COLLATE "C"
        """  # noqa: S608 - the texts are constants, values are arguments


def chosen_from_large(facets: Sequence[Facet], rows: Sequence[Any]) -> dict[str, set[str]]:
    """Large list -> the options of it that were counted."""
    found: dict[str, set[str]] = {}
    for row in rows:
        target = facets[row["facet"]].target
        if isinstance(target, Searched) and target.large_list is not None:
            found.setdefault(target.large_list, set()).add(row["value"])
    return found


def counted_elsewhere(name: str, role: Role | None, arguments: Arguments) -> str:
    """A SELECT of `value` for each record of `met` and each value of a field that it has."""
    if name == CATEGORY:
        return (
            "SELECT met.id, a.category_id AS value FROM met"  # noqa: S608
            " JOIN category_assignments a ON a.workspace_id = $1 AND a.record_id = met.id"
            f" WHERE {assignments_in_view(role, arguments)}"
        )
    return f"SELECT met.id, met.{_COLUMNS[name]} AS value FROM met"  # noqa: S608


def top_values(number: int, facet: Facet, values: str, *, are_counted: bool = False) -> str:
    """A SELECT of the most frequent values of a facet, from one row per value of each record.

    Or from one row per value with its `count`, where they `are_counted`.
    """
    label = (
        "(SELECT c.body ->> 'name' FROM categories c"
        " WHERE c.workspace_id = $1 AND c.id = top.value)"
        if facet.target == CATEGORY
        else "NULL"
    )
    counted = (
        values
        if are_counted
        else f"SELECT value, count(*) AS count FROM ({values}) AS each"  # noqa: S608
        " WHERE value IS NOT NULL GROUP BY value"
    )
    return (
        f"(SELECT {number} AS facet, top.value, {label} AS label, top.count FROM ("  # noqa: S608
        f" SELECT value, count FROM ({counted}) AS counted"
        f' ORDER BY count DESC, value COLLATE "C" LIMIT {VALUES_MAX}) AS top)'
    )


def shown(
    facets: Sequence[Facet],
    rows: Sequence[Any],
    blueprint: Blueprint,
    looked_up: Mapping[str, Mapping[str, str]],
) -> dict[str, list[dict[str, Any]]]:
    """Name -> values with their labels and counts; labels of large lists were looked up."""
    answer: dict[str, list[dict[str, Any]]] = {facet.name: [] for facet in facets}
    labels = [_labels(facet, blueprint, looked_up) for facet in facets]
    for row in rows:
        facet = facets[row["facet"]]
        is_boolean = isinstance(facet.target, Searched) and (
            facet.target.type is AttributeType.BOOLEAN
        )
        answer[facet.name].append(
            {
                "value": row["value"] == "true" if is_boolean else row["value"],
                "label": row["label"] or labels[row["facet"]].get(row["value"]),
                "count": row["count"],
            }
        )
    return answer


def _labels(
    facet: Facet, blueprint: Blueprint, looked_up: Mapping[str, Mapping[str, str]]
) -> Mapping[str, str]:
    if isinstance(facet.target, Searched):
        if facet.target.large_list is not None:
            return looked_up.get(facet.target.large_list, {})
        options = facet.target.option_list
        return {} if options is None else {each.id: each.label for each in options.values}
    if facet.target == "schemaId":
        return {each.id: each.name for each in blueprint.schemas.values()}
    workflows = blueprint.workflows.values()
    return {state.id: state.name for each in workflows for state in each.states.values()}

"""What options are called at the target of a channel: their aliases, and their labels in its scope.

The language of a channel is the segment of its scope in which an option has a label; where it has
none there, its label without a language counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from records_service.attributes.model import Attribute, AttributeType
from records_service.blueprint.blueprint import Blueprint
from records_service.context import Context
from records_service.option_lists.lookup_store import names_of
from records_service.option_lists.model import Option, OptionList
from shared.process.offload import in_thread

Names: TypeAlias = "dict[str, dict[str, dict[str, str]]]"
"""Attribute id -> option id -> `alias` and `label`."""


async def names_in(
    context: Context,
    blueprint: Blueprint,
    attributes: Sequence[Attribute],
    records: Sequence[Mapping[str, Any]],
    segment_ids: Sequence[str],
) -> Names:
    """The names of all options in these records; one that does not exist any more has none."""
    lists = {
        each.id: option_list
        for each in attributes
        if each.type is AttributeType.OPTION
        for option_list in [blueprint.option_lists.get(each.option_list_id or "")]
        if option_list is not None
    }
    if not lists:
        return {}
    chosen = await in_thread(_chosen, lists.keys(), records)
    large: dict[str, set[str]] = {}
    for attribute_id, option_ids in chosen.items():
        if option_ids and lists[attribute_id].is_large:
            large.setdefault(lists[attribute_id].id, set()).update(option_ids)
    found: dict[str, dict[str, dict[str, str]]] = {}
    if large:
        async with context.database.acquire() as conn:
            found = await names_of(conn, context.workspace_id, large, segment_ids)
    return {
        attribute_id: _of_list(lists[attribute_id], option_ids, segment_ids, found)
        for attribute_id, option_ids in chosen.items()
        if option_ids
    }


def ids_by_label(option_list: OptionList, segment_ids: Sequence[str]) -> dict[str, list[str]]:
    """The ids of the options that have a label in this scope; of a large list, none."""
    found: dict[str, list[str]] = {}
    for option in option_list.values:
        found.setdefault(label_of(option, segment_ids), []).append(option.id)
    return found


def label_of(option: Option, segment_ids: Sequence[str]) -> str:
    """The label of an option in a scope."""
    labels = option.labels or {}
    return next((labels[each] for each in segment_ids if each in labels), option.label)


def _of_list(
    option_list: OptionList,
    option_ids: Iterable[str],
    segment_ids: Sequence[str],
    found: Mapping[str, Mapping[str, dict[str, str]]],
) -> dict[str, dict[str, str]]:
    if option_list.is_large:
        names = found.get(option_list.id, {})
        return {each: names[each] for each in option_ids if each in names}
    by_id = option_list.by_id
    return {
        each: {"alias": by_id[each].alias, "label": label_of(by_id[each], segment_ids)}
        for each in option_ids
        if each in by_id
    }


def _chosen(
    attribute_ids: Iterable[str], records: Sequence[Mapping[str, Any]]
) -> dict[str, set[str]]:
    chosen: dict[str, set[str]] = {each: set() for each in attribute_ids}
    for record in records:
        for held in (record, *record["variants"]):
            for attribute_id, option_ids in chosen.items():
                value = held["values"].get(attribute_id)
                several = value if isinstance(value, list) else [value]
                option_ids.update(each for each in several if isinstance(each, str))
    return chosen

"""Options whose labels have a word, in full-text searches by the index of texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from records_service.search.full_text import labelled
from records_service.search.sql import Arguments, pattern
from records_service.search_texts.words import Term

OPTIONS_MAX: Final = 2_000
"""Options of which the labels have a term. Where there are more, records are read instead."""
_COMPARED_MAX: Final = 4
"""Attributes of which a row is asked one by one whether it has one of their options."""


def options_labelled(term: Term, lists: Sequence[str], arguments: Arguments) -> str:
    """A SELECT of the options of these large lists whose labels have the term."""
    word = arguments.name(pattern("contains", term.words[0]), "text")
    # A label of ASCII alone needs no folding: for nearly all of them that is told at once.
    plain = f"(octet_length(l.label) <> length(l.label) OR lower(l.label) LIKE {word})"
    return (
        "SELECT o.list_id, o.id FROM option_values o"  # noqa: S608
        f" WHERE o.workspace_id = $1 AND o.list_id = ANY({arguments.name(lists, 'text[]')})"
        " AND EXISTS (SELECT FROM (SELECT o.label UNION ALL"
        " SELECT each.value FROM jsonb_each_text(o.labels) AS each) AS l (label)"
        f" WHERE {plain} AND {labelled(term, arguments)}) LIMIT {OPTIONS_MAX + 1}"
    )


def has_chosen(
    options: Sequence[str], visible: Callable[[str], str], arguments: Arguments
) -> list[str]:
    """Conditions of which one is met if a row `t` of the index has one of these options.

    `options` are `attribute=option`, `visible` is the condition that the caller sees an attribute.
    """
    of_attribute: dict[str, list[str]] = {}
    for each in options:
        of_attribute.setdefault(each.partition("=")[0], []).append(each)
    if len(of_attribute) <= _COMPARED_MAX:
        return [
            f"t.options && {arguments.name(chosen, 'text[]')}"
            f" AND {visible(arguments.name(attribute_id, 'text'))}"
            for attribute_id, chosen in of_attribute.items()
        ]
    is_visible = visible("split_part(o.o, '=', 1)")
    named = arguments.name(list(options), "text[]")
    of_row = "(SELECT unnest(t.options) AS o OFFSET 0) AS o"
    return [f"EXISTS (SELECT FROM {of_row} WHERE o.o = ANY({named}) AND {is_visible})"]

"""Replaces a name in the lists of states with the id of the attribute that got it as its alias.

The lists hold the id from then on. What a name takes away stays taken (docs/adr/0010):

- Where others had the alias before, the name stays beside the id: it goes on hiding, locking and
  requiring them.
- Only for a new attribute does a name in `hidden` say that it is not required: that was meant by
  whoever wrote it. An attribute that is required already would be released by a rename, so there
  the name stays alone: it hides, and releases nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from workflow_service.definitions.model import ATTRIBUTES_MAX, State


def attribute_named(
    states: Iterable[State],
    alias: str,
    attribute_id: str,
    others: Collection[str],
    former_aliases: Collection[str],
    *,
    is_new: bool,
) -> list[State]:
    """The states with the id of this attribute where they have its alias.

    `others` are the attributes that had the alias before, or have it as their id. A list that would
    grow too long stays as it is: a name goes on taking away where it stands.
    """
    # A name that is another attribute's id means that one.
    is_meant = is_new and alias not in others
    listed = (attribute_id, alias) if others else (attribute_id,)
    called = {attribute_id, alias, *former_aliases}
    return [
        state.model_copy(
            update={
                "hidden": state.hidden
                if not is_meant and not called.isdisjoint(state.required)
                else _named(state.hidden, alias, listed),
                "required": _named(state.required, alias, listed),
                "read_only": _named(state.read_only, alias, listed),
            }
        )
        for state in states
    ]


def _named(names: list[str], alias: str, listed: Sequence[str]) -> list[str]:
    if alias not in names:
        return names
    place = names.index(alias)
    changed = list(dict.fromkeys((*names[:place], *listed, *names[place + 1 :])))
    return changed if len(changed) <= max(ATTRIBUTES_MAX, len(names)) else names

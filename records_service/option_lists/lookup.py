"""The options of large lists that a request names; no process holds all of those.

Whoever judges a request asks twice. The first time nothing is known, and what was asked for is
noted; `lookup_store.look_up` finds all of it with one statement. The second time it is answered:

    options = Options()
    judge(request, options)
    await look_up(conn, workspace_id, options)
    judge(request, options)

An option that is deleted in between changes the version of the model, without which no record is
written: it is judged again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from records_service.option_lists.model import OptionList

LABELLED_MAX: Final = 1_000
"""How many options with one label are found."""

Name: TypeAlias = "tuple[str, str]"
"""An option list, and an id, alias or label of an option in it."""


class Options:
    """What is known of the options of large lists, and what has to be looked up."""

    __slots__ = ("_ids", "_known", "_labelled", "_wanted")

    def __init__(self) -> None:
        self._known: set[Name] = set()
        self._ids: dict[Name, str] = {}
        self._labelled: dict[Name, list[str]] = {}
        self._wanted: set[Name] = set()

    @property
    def wanted(self) -> Sequence[Name]:
        """What was asked for and is not known, in order."""
        return sorted(self._wanted)

    @property
    def unknown(self) -> Sequence[Name]:
        """What is wanted, and neither id, alias nor label of an option that was found."""
        return sorted(self._wanted - self._ids.keys() - self._labelled.keys())

    def id_of(self, list_id: str, name: str) -> str | None:
        """The option with this id or, failing that, alias."""
        self._ask((list_id, name))
        return self._ids.get((list_id, name))

    def labelled(self, list_id: str, label: str) -> Sequence[str]:
        """The ids of the options with this label, at most `LABELLED_MAX` and one more."""
        self._ask((list_id, label))
        return self._labelled.get((list_id, label), ())

    def awaits(self, list_id: str, name: str) -> bool:
        """Whether this name was asked for and has not been looked up yet."""
        return (list_id, name) in self._wanted

    def learn(self, name: Name, option_id: str, *, is_label: bool) -> None:
        """An option that was found. That with the id comes before the one with the alias."""
        if is_label:
            self._labelled.setdefault(name, []).append(option_id)
        else:
            self._ids.setdefault(name, option_id)

    def looked_up(self) -> None:
        """All that was wanted is known now: what was not found does not exist."""
        self._known |= self._wanted
        self._wanted.clear()

    def _ask(self, name: Name) -> None:
        if name not in self._known:
            self._wanted.add(name)


def id_in(option_list: OptionList, name: str, options: Options | None) -> str | None:
    """The option of a list with this id or, failing that, alias."""
    if not option_list.is_large:
        return option_list.ids_by_name.get(name)
    return None if options is None else options.id_of(option_list.id, name)


def labelled_in(option_list: OptionList, label: str, options: Options | None) -> Sequence[str]:
    """The ids of the options of a list with this label or, failing that, with one in a language."""
    if not option_list.is_large:
        labelled = option_list.ids_by_label.get(label)
        return labelled or option_list.ids_by_other_label.get(label, ())
    return () if options is None else options.labelled(option_list.id, label)

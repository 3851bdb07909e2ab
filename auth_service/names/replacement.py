"""Replaces a name in roles with the id of the schema or attribute that got it as its alias.

The role holds the id from then on. Only for something new does a name give what it says: whoever
wrote it meant what was to come. When something that exists is renamed, the name takes away and
never gives, or a role could be widened by renaming what it hides.

Whatever else had the name as an alias before is narrowed by it until now (docs/adr/0010), so its id
gets the narrowed permission as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from auth_service.permissions.model import (
    ANY,
    ATTRIBUTE_PERMISSIONS_MAX,
    ATTRIBUTES_NAMED_MAX,
    PERMISSIONS_MAX,
    AttributePermission,
)
from auth_service.permissions.rules import RANK

Entries: TypeAlias = Sequence[dict[str, Any]]
_Words: TypeAlias = Mapping[str, AttributePermission]


def attribute_named(
    entries: Entries, alias: str, attribute_id: str, others: Sequence[str], *, is_new: bool
) -> Entries:
    """The permissions of a role with the id of this attribute where they have its alias.

    `others` are the attributes that had the alias before, or have it as their id. What would grow
    too large stays as it is: a name goes on narrowing where it stands.
    """
    everywhere = _entry(entries, ANY)
    # A name that is another attribute's id means that one.
    is_meant = is_new and alias not in others
    room = PERMISSIONS_MAX - sum(len(entry["attributePermissions"]) for entry in entries)
    different = {name for entry in entries for name in entry["attributePermissions"]}
    if len(different | {attribute_id, *others}) > max(ATTRIBUTES_NAMED_MAX, len(different)):
        return entries

    def elsewhere(one: str) -> AttributePermission:
        """What the entry for all schemas says, also by the alias."""
        word = everywhere.get(one) or everywhere.get(ANY) or "hidden"
        return _stricter(word, everywhere.get(alias, "write"))

    changed = []
    for entry in entries:
        words: _Words = entry["attributePermissions"]
        if alias not in words:
            changed.append(entry)
            continue
        word = words[alias]
        new = {name: permission for name, permission in words.items() if name != alias}
        for one in dict.fromkeys((attribute_id, *others)):
            if one in words:
                new[one] = _stricter(words[one], word)
            elif is_meant and one == attribute_id:
                new[one] = word
            else:
                new[one] = _stricter(word, words.get(ANY) or elsewhere(one))
        growth = len(new) - len(words)
        if growth > 0 and (len(new) > ATTRIBUTE_PERMISSIONS_MAX or growth > room):
            changed.append(entry)
            continue
        room -= growth
        changed.append({**entry, "attributePermissions": new})
    return changed


def schema_named(entries: Entries, alias: str, schema_id: str) -> Entries:
    """The permissions of a role with the id of a new schema where they have its alias.

    Beside an entry under the id the one under the alias stays, where it goes on narrowing. Not for
    a schema that exists and gets the alias: under the id the entry would be asked before the one
    for all schemas, and silence what that takes away.
    """
    if schema_id != alias and any(entry["schemaId"] == schema_id for entry in entries):
        return entries
    return [
        {**entry, "schemaId": schema_id} if entry["schemaId"] == alias else entry
        for entry in entries
    ]


def _entry(entries: Entries, schema_key: str) -> _Words:
    return next(
        (entry["attributePermissions"] for entry in entries if entry["schemaId"] == schema_key), {}
    )


def _stricter(one: AttributePermission, other: AttributePermission) -> AttributePermission:
    return min(one, other, key=RANK.__getitem__)

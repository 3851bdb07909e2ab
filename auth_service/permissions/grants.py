"""Decides which permissions a caller may put into a role, given the caller's own role.

Otherwise a user who manages roles without being an administrator could create a role that allows
everything, or extend their own. The rule: a change may remove any permission, but may add only
permissions that the giver, the caller's own role, has itself. Administrators and API keys (which
need `update-model`) are not bound by the rule; only administrators may change `role-admin`.

Roles are compared by ids. A name without an object yet (an unknown name) may become the alias of
anything. So a caller who is bound by the rule cannot grant anything by an unknown name, and must
repeat the restrictions that the own role has under unknown names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TypeAlias

from auth_service.permissions.model import (
    ANY,
    PERMISSIONS_MAX,
    AttributePermission,
    Role,
    RoleNames,
)
from auth_service.permissions.rules import RANK, CatalogRight, Resolved
from shared.errors import PermissionDenied, truncated

_CATALOG_RIGHTS: tuple[CatalogRight, ...] = ("canView", "canAssign")

NOTHING_UNKNOWN = RoleNames()


def check_grant(
    giver: Role, before: Role, after: Role, unknown: RoleNames = NOTHING_UNKNOWN
) -> None:
    """Raise `PermissionDenied` when `after` allows more than `before` and more than `giver`.

    Takes time in proportion to the number of names in the three roles.
    """
    extra = sorted(after.flags - before.flags - giver.flags)
    if extra:
        raise PermissionDenied(
            f"Your own role does not allow '{truncated(extra[0])}', so you cannot grant it"
        )
    for role in (giver, before):
        if sum(len(e["attributePermissions"]) for e in role.schema_permissions) > PERMISSIONS_MAX:
            raise PermissionDenied(
                f"Role '{truncated(role.id)}' has more than {PERMISSIONS_MAX} attribute"
                " permissions,"
                " so only an administrator can reduce it"
            )
    has, had, gets = Resolved(giver), Resolved(before), Resolved(after)
    _check_attributes(has, had, gets, unknown)
    for catalog_key in {ANY, *has.catalog_keys, *had.catalog_keys, *gets.catalog_keys}:
        for right in _CATALOG_RIGHTS:
            if (
                gets.catalog(catalog_key, right)
                and not had.catalog(catalog_key, right)
                and not has.catalog(catalog_key, right)
            ):
                raise PermissionDenied(
                    f"Your own role does not allow '{right}' on catalog '{truncated(catalog_key)}',"
                    " so you cannot grant it"
                )


_Words: TypeAlias = tuple[AttributePermission, AttributePermission, AttributePermission]
"""The permissions on one attribute: after the change, before it, and of the giver."""


class _Comparison:
    """The three roles of a comparison, and the attributes on which they may differ, by schema."""

    def __init__(self, gets: Resolved, had: Resolved, has: Resolved) -> None:
        self._roles = (gets, had, has)
        # Names that stand only in the entries for `*` and have the same three permissions there
        # get the same result in every schema, so one name of each such group is compared.
        self._groups = defaultdict[tuple[str | None, ...], list[str]](list)
        for name in {name for role in self._roles for name in role.entry(ANY)}:
            self._groups[tuple(role.entry(ANY).get(name) for role in self._roles)].append(name)

    @property
    def schema_keys(self) -> Iterable[str]:
        return {ANY, *(key for role in self._roles for key in role.schema_keys)}

    def words(self, schema_key: str) -> Iterator[tuple[str, _Words]]:
        """The attribute names to compare, with three permissions each; `*` is every unnamed one."""
        gets, had, has = self._roles
        names = {ANY, *(name for role in self._roles for name in role.entry(schema_key))}
        for group in self._groups.values():
            # Skips at most as many names as the entries of this schema have.
            one = next((name for name in group if name not in names), None)
            if one is not None:
                names.add(one)
        for name in names:
            yield (
                name,
                (
                    gets.by_id(schema_key, name),
                    had.by_id(schema_key, name),
                    has.by_id(schema_key, name),
                ),
            )


def _check_attributes(has: Resolved, had: Resolved, gets: Resolved, unknown: RoleNames) -> None:
    comparison = _Comparison(gets, had, has)
    denied_everywhere = _Denied(has, gets, unknown)
    adds = False
    for schema_key in comparison.schema_keys:
        added = 0
        for name, words in comparison.words(schema_key):
            given, before, own = (RANK[word] for word in words)
            if given > before:
                if given > own:
                    raise _beyond(schema_key, name, words[0])
                added = max(added, given)
        _check_unknown(schema_key, has, had, gets, unknown)
        if added:
            adds = True
            _check_repeated(schema_key, has, gets, unknown, added, denied_everywhere)
    if adds:
        _check_schemas_repeated(has, gets, unknown)


def _check_schemas_repeated(has: Resolved, gets: Resolved, unknown: RoleNames) -> None:
    for schema_key in unknown.schemas.intersection(has.schema_keys):
        entry = gets.entry(schema_key)
        for name, word in has.entry(schema_key).items():
            if RANK[entry.get(name) or entry.get(ANY) or "write"] > RANK[word]:
                raise PermissionDenied(
                    f"Your own role restricts schema '{truncated(schema_key)}', which does not"
                    " exist"
                    " yet, so every role that you change must restrict it too"
                )


def _beyond(schema_key: str, name: str, word: str) -> PermissionDenied:
    return PermissionDenied(
        f"Your own role does not allow '{word}' on attribute '{truncated(name)}' of schema"
        f" '{truncated(schema_key)}', so you cannot grant it"
    )


def _check_unknown(
    schema_key: str, has: Resolved, had: Resolved, gets: Resolved, unknown: RoleNames
) -> None:
    """Raise `PermissionDenied` if a change grants, or lifts a restriction, by an unknown name."""
    entry, before = gets.entry(schema_key), had.entry(schema_key)
    no_schema = schema_key in unknown.schemas
    for name, word in entry.items():
        if not (no_schema or name in unknown.attributes):
            continue
        without = "hidden" if no_schema else entry.get(ANY, "hidden")
        if RANK[word] > RANK[without] and RANK[word] > RANK[before.get(name, "hidden")]:
            what = (
                f"Schema '{truncated(schema_key)}'"
                if no_schema
                else f"Attribute '{truncated(name)}'"
            )
            raise PermissionDenied(f"{what} does not exist yet, so you cannot grant '{word}' on it")
    for name, word in before.items():
        if no_schema or name in unknown.attributes:
            now = entry.get(name, "write")
            if RANK[now] > RANK[word] and RANK[now] > RANK[has.by_id(schema_key, name)]:
                raise _beyond(schema_key, name, now)


class _Denied:
    """The restrictions under unknown names in the giver's entry for all schemas.

    Both maps are keyed by the rank of the permission added; only stricter restrictions matter.
    """

    def __init__(self, has: Resolved, gets: Resolved, unknown: RoleNames) -> None:
        denied = [
            (name, RANK[word])
            for name, word in has.entry(ANY).items()
            if name in unknown.attributes
        ]
        given = gets.entry(ANY)
        not_repeated = [
            (name, rank) for name, rank in denied if RANK[given.get(name, "write")] > rank
        ]
        self.all = {added: [each for each in denied if each[1] < added] for added in (1, 2)}
        self.not_repeated = {
            added: [each for each in not_repeated if each[1] < added] for added in (1, 2)
        }


def _check_repeated(
    schema_key: str,
    has: Resolved,
    gets: Resolved,
    unknown: RoleNames,
    added: int,
    everywhere: _Denied,
) -> None:
    """Raise `PermissionDenied` if the role lacks a restriction of the giver under an unknown name.

    The name may become the alias of an attribute; the role would then allow what the giver may not
    do. `added` is the rank of the highest permission that the change adds in this schema.
    """
    own, given = has.entry(schema_key), gets.entry(schema_key)
    denied: Iterable[tuple[str, int]] = (
        (name, RANK[word]) for name, word in own.items() if name in unknown.attributes
    )
    if ANY not in own and schema_key != ANY:
        # The entry for all schemas applies here as well.
        more = everywhere.all if ANY in given else everywhere.not_repeated
        denied = chain(denied, more[added])
    for name, rank in denied:
        # Ends at the first that is not repeated, so it takes no longer than the role's own entry.
        if rank < added and RANK[given.get(name, "write")] > rank:
            raise PermissionDenied(
                f"Your own role restricts attribute '{truncated(name)}' of schema"
                f" '{truncated(schema_key)}',"
                " which does not exist yet,"
                " so every role that you change must restrict it too"
            )

"""Puts many records into the categories they are to be in, and takes them out of all others.

    needed = await to_change(context, conn, wanted)       before the records are written
    locked = await lock(context, conn, needed)            the same, in the transaction
    await set_categories(context, conn, wanted, locked)   afterwards

What lies in catalogs that the caller may not view stays as it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TypeAlias

from records_service.catalogs.assignments import sets_store
from records_service.catalogs.assignments.commands import assignment_events
from records_service.catalogs.assignments.sets_store import Assignment
from records_service.catalogs.assignments.store import LockedCategory
from records_service.catalogs.categories.name_store import Placed
from records_service.context import Context
from records_service.permissions.rules import catalog_access
from records_service.writes.model import StaleRecord
from shared.database import Conn
from shared.errors import PermissionDenied, truncated
from shared.events import Event, EventType
from shared.identity import Permission

CHANGED_AT_ONCE: Final = 2_000
"""Each is an event, some 10 us of the event loop: others are answered between these."""
NOT_CREATED: Final = datetime.max.replace(tzinfo=UTC)
"""In the place of the time of creation of a record that does not exist yet."""
Locked: TypeAlias = "dict[str, LockedCategory]"
"""Id -> category; the versions are those of the last events of this transaction."""


class NotLocked(Exception):
    """These categories are to be changed, and were not locked before the records."""

    def __init__(self, category_ids: AbstractSet[str]) -> None:
        super().__init__()
        self.category_ids = category_ids


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whose categories have changed, and whose may not be changed by the caller, and why."""

    changed: AbstractSet[str] = frozenset()
    refused: Mapping[str, PermissionDenied] = field(default_factory=dict)


@dataclass(slots=True)
class _Differences:
    """What is to be changed; `refused` are records of which nothing is."""

    added: list[tuple[Assignment, datetime]] = field(default_factory=list)
    removed: list[Assignment] = field(default_factory=list)
    refused: dict[str, PermissionDenied] = field(default_factory=dict)

    @property
    def all(self) -> list[Assignment]:
        """What is added, and what is removed."""
        return [*(one for one, _ in self.added), *self.removed]

    def parts(self) -> Iterator[_Differences]:
        """All of them, `CHANGED_AT_ONCE` at a time; those that are removed come first."""
        added_from = len(self.removed)
        for first in range(0, added_from + len(self.added), CHANGED_AT_ONCE):
            last = first + CHANGED_AT_ONCE
            yield _Differences(
                self.added[max(0, first - added_from) : max(0, last - added_from)],
                self.removed[first:last],
            )


async def to_change(
    context: Context, conn: Conn, wanted: Mapping[str, Sequence[Placed]]
) -> set[str]:
    """The categories in which something will change, as far as one can tell now.

    Records that do not exist yet are in none.
    """
    different = await _differences(context, conn, wanted)
    return {one.category_id for one in different.all}


async def lock(context: Context, conn: Conn, category_ids: Collection[str]) -> Locked:
    """Lock these categories until commit; `StaleRecord` if one of them is gone.

    Goes before the records are locked, as with single calls.
    """
    if not category_ids:
        return {}
    locked = await sets_store.lock_categories(conn, context.workspace_id, category_ids)
    if len(locked) < len(category_ids):
        raise StaleRecord
    return locked


async def set_categories(
    context: Context, conn: Conn, wanted: Mapping[str, Sequence[Placed]], locked: Locked
) -> Outcome:
    """Let records be in these categories, and of those that the caller may view in no others.

    Goes in the transaction of the caller, which has locked the categories and holds the rows of the
    records. Two statements if something changes, one if nothing does, and one more for each
    `CHANGED_AT_ONCE` further changes. Raises `NotLocked` with
    nothing written.
    """
    different = await _differences(context, conn, wanted)
    missing = {one.category_id for one in different.all} - locked.keys()
    if missing:
        raise NotLocked(missing)
    for part in different.parts():
        events = _events(context, locked, part)
        await sets_store.change(
            conn, context.workspace_id, locked, part.added, part.removed, events
        )
        for event in events:
            name = event.data["categoryId"]
            locked[name] = locked[name]._replace(assignments_version=event.version)
    return Outcome({one.record_id for one in different.all}, different.refused)


async def _differences(
    context: Context, conn: Conn, wanted: Mapping[str, Sequence[Placed]]
) -> _Differences:
    there: dict[str, dict[str, str]] = defaultdict(dict)
    created_at: dict[str, datetime] = {}
    for row in await sets_store.assigned(conn, context.workspace_id, wanted, context.role):
        created_at[row["id"]] = row["created_at"]
        if row["category_id"] is not None:
            there[row["id"]][row["category_id"]] = row["catalog_id"]
    different = _Differences()
    for record_id, placed in wanted.items():
        asked, now = dict(placed), there[record_id]
        added, removed = asked.keys() - now.keys(), now.keys() - asked.keys()
        refusal = _refusal(
            context,
            {asked[one] for one in added} | {now[one] for one in removed},
            removes=bool(removed),
        )
        if refusal is not None:
            different.refused[record_id] = refusal
            continue
        at = created_at.get(record_id, NOT_CREATED)
        different.added += ((Assignment(one, record_id), at) for one in sorted(added))
        different.removed += (Assignment(one, record_id) for one in sorted(removed))
    return different


def _refusal(
    context: Context, catalog_ids: AbstractSet[str], *, removes: bool
) -> PermissionDenied | None:
    """Why the caller may not change what these records are in; as the single calls judge it."""
    for catalog_id in sorted(catalog_ids):
        if not catalog_access(context.role, catalog_id).can_assign:
            return PermissionDenied(
                f"The role lacks 'canAssign' on catalog '{truncated(catalog_id)}'"
            )
    if removes and Permission.DELETE_DATA not in context.identity.permissions:
        return PermissionDenied(
            f"The API key lacks the permission '{truncated(Permission.DELETE_DATA)}', which taking"
            " a record out of a category needs"
        )
    return None


def _events(context: Context, locked: Locked, different: _Differences) -> list[Event]:
    """Category by category, in order; those that are taken out come first."""
    kinds: dict[str, list[Assignment]] = {
        EventType.CATEGORY_UNASSIGNED: different.removed,
        EventType.CATEGORY_ASSIGNED: [one for one, _ in different.added],
    }
    by_category: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for kind, assignments in kinds.items():
        for one in assignments:
            by_category[one.category_id][kind].append(one.record_id)
    events: list[Event] = []
    for category_id in sorted(by_category):
        category = locked[category_id]
        for kind, record_ids in by_category[category_id].items():
            made = assignment_events(kind, context, category, sorted(record_ids))
            category = category._replace(assignments_version=made[-1].version)
            events += made
    return events

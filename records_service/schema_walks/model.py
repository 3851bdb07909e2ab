"""How far a background job is on its way through the records of schemas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from records_service.model_objects.search_store import VALUE_TABLES, ValueTable
from shared.database.listing import Position


@dataclass(frozen=True, slots=True)
class Walk:
    """A walk through the records of all these schemas, and then through their variants.

    Of each schema in the order of creation. `done` schemas are finished, each counted once for its
    records and once for its variants, and the next one up to the position `after`.
    """

    schema_ids: Sequence[str]
    done: int = 0
    after: Position | None = None
    tables: Sequence[ValueTable] = VALUE_TABLES

    @property
    def is_over(self) -> bool:
        """Whether all have been looked at."""
        return self.done >= len(self.tables) * len(self.schema_ids)

    @property
    def table(self) -> ValueTable:
        """Where the next ones are."""
        return self.tables[self.done // len(self.schema_ids)]

    @property
    def schema_id(self) -> str:
        """The schema of the next ones."""
        return self.schema_ids[self.done % len(self.schema_ids)]

    def reached(self, after: Position | None) -> Walk:
        """The walk when it has come to this position of its schema; None: to the end of it."""
        return replace(self, done=self.done + (after is None), after=after)


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """What was written since a walk began, and has not been looked at yet, by the history.

    That are the entries after `since`. Up to `until`, if that is known, no other will come between
    them, so these may be looked at while records are written.
    """

    since: int = 0
    until: int | None = None

"""What is asked of the feed, and what it answers."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field
from typing_extensions import TypeAliasType

from shared.http.shapes import Shape

LIMIT_MAX: Final = 1_000
LIMIT_DEFAULT: Final = 100
WAIT_S_MAX: Final = 30


class ChangesQuery(Shape):
    """Which part of the feed is asked for."""

    after: str | None = None
    """A token: the `next` of an answer, the `id` of a server-sent event, or that of a snapshot.
    Without it: what happens from now on."""
    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT
    """The maximum number of events in the answer."""
    wait: Annotated[int, Field(ge=0, le=WAIT_S_MAX)] = 0
    """Seconds to wait for an event if there is none: a long poll."""


class SnapshotQuery(Shape):
    """Which records a snapshot has."""

    schema_id: str | None = Field(default=None, alias="schemaId")
    """Only records of this schema (id or alias)."""


ChangeEvent = TypeAliasType(
    "ChangeEvent",
    Annotated[
        dict[str, Any],
        Field(
            description="An event as on the bus: a CloudEvents document with `id`, `type`,"
            " `subject`, `time` and `data`, without what is hidden from the caller."
        ),
    ],
)


class ChangesPage(Shape):
    """Some events of a workspace, oldest first."""

    items: list[ChangeEvent]
    """The events."""
    next: str
    """The token to ask for what comes after them."""
    more: bool
    """Whether there is more already. There may be, also if `items` is empty: what the caller may
    not see is left out."""

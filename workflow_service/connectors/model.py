"""What a connector is: the one thing that knows how a target is spoken to.

A synchronisation (`workflow_service.sync`) reads records, maps them, compares what was sent before
and remembers what became of each. A connector is given what is left: objects to send, and where to
read on. It keeps no state of its own, holds a bounded number of objects at a time, and reaches its
target through `workflow_service.outbound` only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from aiohttp import web
from yarl import URL

Config = Mapping[str, Any]
"""What a channel has under `config`, with its secrets in clear."""


class TargetFailed(Exception):
    """The target cannot be used at the moment, or not at all: the synchronisation ends.

    The message names what was tried and what came, and no value of a record or secret.
    """


class TargetBusy(TargetFailed):
    """The target asks to be left alone for a while: the synchronisation goes on after that.

    Until then it takes no place among those that are worked on.
    """

    def __init__(self, message: str, after_s: float) -> None:
        super().__init__(message)
        self.after_s = after_s


class NoList(TargetFailed):
    """The target has no list of its objects, and will have none if it is asked again."""


@dataclass(frozen=True, slots=True)
class Item:
    """A record as the target is to have it."""

    entity_id: str
    fields: Mapping[str, Any]
    """The mapped object: what stands at each target field. None was emptied since it was sent."""
    external_id: str | None = None
    """The id of the object at the target; None if it is to be created."""
    key: str = ""
    """Of a create: the same whenever this create is sent again, and never that of another."""
    variant_ids: Sequence[str] = ()
    """Whose the members of `fields["variants"]` are; empty where the record has no variants."""
    variants: Mapping[str, str] = field(default_factory=dict)
    """Variant id -> its id at the target, as far as it is known; also of variants that were sent
    once and are not in `variant_ids` any more."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The target has confirmed an item."""

    entity_id: str
    external_id: str
    variants: Mapping[str, str] = field(default_factory=dict)
    """Variant id -> its id at the target, where the target has ids for them."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An item that the target has not taken."""

    entity_id: str
    reason: str
    """What was tried and what came, without any value of a record: who may read logs sees it."""
    detail: str | None = None
    """What the target says about it, which may name values; at most 500 characters are kept."""
    is_unknown: bool = False
    """Whether it may have been taken all the same: no answer came to a create."""
    is_gone: bool = False
    """Whether the target has no object with this external id any more."""


@dataclass(frozen=True, slots=True)
class Postponed:
    """An item that the target has certainly not carried out, because it is busy."""

    entity_id: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A create of which nobody knows whether the target has had it."""

    entity_id: str
    key: str


@dataclass(frozen=True, slots=True)
class Pulled:
    """An object of the target; its fields are read by the target fields of the mappings."""

    external_id: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """Some objects of the target, and where the next ones begin; None at the end."""

    items: Sequence[Pulled]
    next: str | None


@dataclass(frozen=True, slots=True)
class Tested:
    """What a target says about itself; what it does not say is None."""

    shop_name: str | None = None
    shop_url: str | None = None
    plan: str | None = None
    product_count: int | None = None


class Connector(Protocol):
    """An open connection to one target. All methods raise `TargetFailed`."""

    async def test(self) -> Tested:
        """Whether the target can be reached with these credentials; changes nothing there."""
        ...

    async def find(self, lost: Sequence[Interrupted]) -> Mapping[str, str] | None:
        """Entity id -> external id, of those of these creates that the target has had.

        None where the target cannot be asked: then the objects of the target are compared with what
        was sent, by `pull`. Asked before the creates are sent again, with the same keys.
        """
        ...

    def push(self, items: Sequence[Item]) -> AsyncIterator[Sent | Refused | Postponed]:
        """Create and update objects; exactly one outcome for each, as soon as it is known.

        Waits for some seconds if the target asks to (429), and raises `TargetBusy` if it asks for
        more. What has no outcome when it raises counts as not sent, but for creates, which count as
        unknown.
        """
        ...

    async def pull(self, after: str | None) -> Page:
        """The objects behind a place that an earlier page named as `next`; None is the beginning.

        A page has at most `ITEMS_AT_ONCE` objects.
        """
        ...


WAIT_S_MAX: Final = 5.0
"""A target that asks to wait for longer is busy."""
BUSY_S_MAX: Final = 300.0
"""One that asks for more than that fails."""
ITEMS_AT_ONCE: Final = 100
"""Objects of one call to `push`, unless the type says otherwise, and of a page."""
CHECKPOINT_LENGTH_MAX: Final = 1_000


class Checkpoint(Protocol):
    """What a connector notes about work that goes on at the target, such as the id of a job there.

    It is kept with the synchronisation: the process that takes over after a crash finds it here.
    Before each request, a connector asks whether the synchronisation is still that of its process.
    """

    async def check(self) -> None:
        """Return if it is. A process that was stopped for long, and wakes, gets an exception."""
        ...

    @property
    def value(self) -> str | None:
        """What was noted last; None at the beginning."""
        ...

    async def save(self, value: str | None) -> None:
        """Note this, at most `CHECKPOINT_LENGTH_MAX` characters, in a transaction of its own."""
        ...


Connect = Callable[[web.Application, Config, Checkpoint], AbstractAsyncContextManager[Connector]]
"""Opens a connection to the target with this configuration."""


def any_target(_: str) -> str | None:
    """Every target field can be used."""
    return None


def origin(address: Any) -> Hashable:
    """Scheme, host and port of an address; what is none stands for itself."""
    try:
        url = URL(address) if isinstance(address, str) else URL()
    except ValueError:
        url = URL()
    return (url.scheme, url.host, url.port) if url.host else repr(address)


@dataclass(frozen=True, slots=True)
class ChannelType:
    """What is known about the channels of one type.

    `plain` are the members of `config` that are no secrets and are shown; every other text in it is
    sealed, and masked when it is read. `check` raises `ValidationError`, with pointers below
    `/config`; it is given the configuration with secrets in clear.
    """

    plain: frozenset[str]
    check: Callable[[Config], None]
    connect: Connect | None = None
    """None where there is no connector."""
    check_target: Callable[[str], str | None] = any_target
    """Why a target field cannot be used; None if it can."""
    items_at_once: int = ITEMS_AT_ONCE
    """Objects of one call to `push`."""
    urls: tuple[str, ...] = ()
    """Members of `config` that are addresses to which requests go: checked when they are saved."""
    servers: Mapping[str, Callable[[Any], Hashable]] = field(default_factory=dict)
    """Members of `config` that say which server the secrets are sent to, and what of them says so:
    where that changes, the secrets have to be sent anew."""


CHANNEL_TYPES: Final[web.AppKey[Mapping[str, ChannelType]]] = web.AppKey("channel_types")
"""Type of a channel -> what is known about such channels."""

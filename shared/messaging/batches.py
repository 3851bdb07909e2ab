"""Publishes many messages with one write, and is told of their confirms together.

aiormq makes a future, a task, a timer and three encoded objects for each message, which is most of
what the relay does. Here the messages of a batch are written as the bytes that they are, and the
channel's table of confirms has a light object for each. All else is the channel's: numbers of
deliveries, the queue of what is to be written, confirms, and the end of both with the connection.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

import pamqp.frame
from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from pamqp.commands import Basic

from shared.messaging import topology

CONTENT_TYPE: Final = "application/cloudevents+json"
PERSISTENT: Final = 2

_HEADER: Final = struct.Struct(">BHLHHQHB")
_BODY: Final = struct.Struct(">BHL")
_END: Final = b"\xce"
_BASIC: Final = 60
# In the order of the bits: content type, delivery mode, message id, type.
_PROPERTIES: Final = 1 << 15 | 1 << 12 | 1 << 7 | 1 << 5
_CONTENT: Final = CONTENT_TYPE.encode() + bytes((PERSISTENT,))
_HEADER_BYTES: Final = 14 + 1 + len(_CONTENT)


class Message(NamedTuple):
    """An event as it is published: persistent, and whether or not somebody reads its type."""

    event_type: str
    message_id: str
    document: bytes


class Batch:
    """Messages that are sent; `done` ends when the broker has told what became of each.

    It ends with an error if the channel closes before.
    """

    __slots__ = ("_left", "confirmed", "done")

    def __init__(self, count: int, done: asyncio.Future[None]) -> None:
        self.confirmed = [False] * count
        """Whether the broker has taken the message, for each."""
        self.done = done
        self._left = count

    def settle(self, number: int, *, confirmed: bool) -> None:
        """The broker has taken or refused this message."""
        self.confirmed[number] = confirmed
        self._left -= 1
        if not self._left and not self.done.done():
            self.done.set_result(None)

    def give_up(self) -> None:
        """Nobody waits for the rest, or wants to hear how the channel ended."""
        if not self.done.cancel() and not self.done.cancelled():
            self.done.exception()


class _Confirm:
    """What the channel's table has of a message instead of a future."""

    __slots__ = ("_batch", "_number")

    def __init__(self, batch: Batch, number: int) -> None:
        self._batch = batch
        self._number = number

    def done(self) -> bool:
        """Nobody waits any more; each message is told of once."""
        return self._batch.done.done()

    def cancelled(self) -> bool:
        """Whether that is because who waited was cancelled."""
        return self._batch.done.cancelled()

    def set_result(self, _: Any) -> None:
        """The broker has taken it."""
        self._batch.settle(self._number, confirmed=True)

    def set_exception(self, _: BaseException) -> None:
        """The broker has refused it."""
        self._batch.settle(self._number, confirmed=False)


def fits(channel: Channel, message: Message) -> bool:
    """Whether a message can be in a batch: its body is one frame."""
    return 0 < len(message.document) < channel.max_content_size


async def send(channel: Channel, messages: Sequence[Message]) -> Batch:
    """Send these messages, at least one, in their order, none of them mandatory; each `fits`.

    Returns when they are in the queue of what is written. Raises what `basic_publish` raises.
    """
    payload = b"".join(encoded(channel.number, message) for message in messages)
    async with channel.lock:
        batch = Batch(len(messages), channel.create_future())
        first = channel.delivery_tag + 1
        confirms = cast("dict[int, Any]", channel.confirmations)
        for number in range(len(messages)):
            confirms[first + number] = _Confirm(batch, number)
        channel.delivery_tag += len(messages)
        try:
            await channel.write_queue.put(ChannelFrame(payload=payload, should_close=False))
        except BaseException:
            # The broker sees none of them, so their numbers are those of the next ones.
            channel.delivery_tag = first - 1
            for number in range(len(messages)):
                confirms.pop(first + number, None)
            batch.done.cancel()
            raise
    return batch


def encoded(channel_number: int, message: Message) -> bytes:
    """The frames of a message: the method, the header with its properties, the body."""
    message_id = message.message_id.encode()
    size = len(message.document)
    kind = message.event_type.encode()
    return b"".join(
        (
            _method(channel_number, message.event_type),
            _HEADER.pack(
                2,
                channel_number,
                _HEADER_BYTES + 2 + len(message_id) + len(kind),
                _BASIC,
                0,
                size,
                _PROPERTIES,
                len(CONTENT_TYPE),
            ),
            _CONTENT,
            bytes((len(message_id),)),
            message_id,
            bytes((len(kind),)),
            kind,
            _END,
            _BODY.pack(3, channel_number, size),
            message.document,
            _END,
        )
    )


@lru_cache(256)
def _method(channel_number: int, event_type: str) -> bytes:
    publish = Basic.Publish(exchange=topology.EVENTS, routing_key=event_type)
    return pamqp.frame.marshal(publish, channel_number)

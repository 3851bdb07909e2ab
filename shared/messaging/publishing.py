"""Publishes to the events exchange with publisher confirms."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, cast

from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import PublishError
from aiormq.channel import Channel as UnderlayChannel
from pamqp.commands import Basic

from shared.messaging import batches, topology
from shared.messaging.batches import CONTENT_TYPE, PERSISTENT, Batch, Message
from shared.messaging.connection import (
    ANSWER_TIMEOUT_S,
    BROKER_ERRORS,
    NotConfirmed,
    abandoning_is_an_error,
)

PUBLISH_TIMEOUT_S: Final = 10.0


class Publisher:
    """One channel with publisher confirms. After a `NotConfirmed`, open a new one."""

    def __init__(self, channel: AbstractChannel, underlay: UnderlayChannel) -> None:
        self._channel = channel
        self._underlay = underlay
        self._in_flight: dict[str, asyncio.Event] = {}

    @classmethod
    async def open(cls, connection: AbstractConnection) -> Publisher:
        """A publisher to the events exchange; `TimeoutError` if the broker opens no channel."""
        channel = connection.channel(publisher_confirms=True, on_return_raises=True)
        async with asyncio.timeout(PUBLISH_TIMEOUT_S):
            await channel.initialize()
        return cls(channel, cast(UnderlayChannel, await channel.get_underlay_channel()))

    @property
    def is_open(self) -> bool:
        """Whether the channel is open, as far as this side knows."""
        return not self._channel.is_closed

    async def close(self) -> None:
        """Close the channel."""
        with suppress(*BROKER_ERRORS):
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._channel.close()

    async def publish(
        self,
        event_type: str,
        message_id: str,
        document: bytes,
        *,
        persistent: bool = True,
        mandatory: bool = True,
        expires_s: float | None = None,
    ) -> bool:
        """True if every queue bound to this type has stored the message, False if none is bound.

        Without `mandatory`, the broker does not say whether a queue is bound, and it is True.

        Raises `NotConfirmed` if the broker refused the message, disconnected or did not answer in
        time.
        """
        # A returned message is matched by its id, so one id is in flight only once.
        while (earlier := self._in_flight.get(message_id)) is not None:
            await earlier.wait()
        done = self._in_flight[message_id] = asyncio.Event()
        try:
            # aiormq's channel and not aio-pika's exchange: a quarter less CPU for each message.
            with abandoning_is_an_error():
                await self._underlay.basic_publish(
                    document,
                    exchange=topology.EVENTS,
                    routing_key=event_type,
                    properties=Basic.Properties(
                        message_id=message_id,
                        message_type=event_type,
                        content_type=CONTENT_TYPE,
                        delivery_mode=PERSISTENT if persistent else 1,
                        expiration=None if expires_s is None else str(int(expires_s * 1000)),
                    ),
                    mandatory=mandatory,
                    timeout=PUBLISH_TIMEOUT_S,
                    wait=False,
                )
        except PublishError:
            return False
        except BROKER_ERRORS as error:
            raise NotConfirmed(repr(error)) from error
        else:
            return True
        finally:
            del self._in_flight[message_id]
            done.set()

    def fits(self, message: Message) -> bool:
        """Whether `send` takes this message."""
        return batches.fits(self._underlay, message)

    async def send(self, messages: Sequence[Message]) -> Batch:
        """Send messages that nobody has to read, all of them persistent and each one that `fits`.

        It waits only while the broker takes nothing more. `confirmed` tells what became of them.
        Raises `NotConfirmed` if the broker is away.
        """
        try:
            with abandoning_is_an_error():
                async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                    return await batches.send(self._underlay, messages)
        except BROKER_ERRORS as error:
            raise NotConfirmed(repr(error)) from error

    async def confirmed(self, batch: Batch) -> Sequence[bool]:
        """Whether the broker has taken each message of the batch.

        One that is lost with the connection, or not told of in time, counts as not taken.
        """
        with suppress(*BROKER_ERRORS), abandoning_is_an_error():
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                await batch.done
        return batch.confirmed

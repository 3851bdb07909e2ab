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
    BROKER_ERRORS,
    CLOSE_TIMEOUT_S,
    NotConfirmed,
    abandoning_is_an_error,
    open_channel,
)

PUBLISH_TIMEOUT_S: Final = 10.0
FIRST_CONFIRM_S: Final = 3.0


class Patience:
    """How long confirms are waited for: `PUBLISH_TIMEOUT_S`, and the first ones of a channel less.

    A channel that was opened just when a cluster lost a node may never confirm, as the next one
    does (ADR 96). What was waited in vain doubles the patience with the next channel, so that a
    slow broker has its time.
    """

    def __init__(self) -> None:
        self._first_s = self._next_first_s = FIRST_CONFIRM_S
        self.is_rewarded = False
        """Whether the channel has confirmed something."""

    @property
    def within_s(self) -> float:
        """How long the channel's next confirm is waited for."""
        return PUBLISH_TIMEOUT_S if self.is_rewarded else min(self._first_s, PUBLISH_TIMEOUT_S)

    def with_a_new_channel(self) -> None:
        """It has confirmed nothing so far."""
        self.is_rewarded = False
        self._first_s = self._next_first_s

    def in_vain(self) -> None:
        """Something was not confirmed in time; all that waits for a channel may say so."""
        self._next_first_s = min(2 * self._first_s, PUBLISH_TIMEOUT_S)

    def rewarded(self) -> None:
        """Something was confirmed."""
        self._next_first_s = FIRST_CONFIRM_S
        self.is_rewarded = True


class Publisher:
    """One channel with publisher confirms. After a `NotConfirmed`, open a new one."""

    def __init__(
        self, channel: AbstractChannel, underlay: UnderlayChannel, patience: Patience
    ) -> None:
        self._channel = channel
        self._underlay = underlay
        self._patience = patience
        self._in_flight: dict[str, asyncio.Event] = {}

    @classmethod
    async def open(
        cls, connection: AbstractConnection, patience: Patience | None = None
    ) -> Publisher:
        """A publisher to the events exchange. Raises `NoChannel`."""
        channel = await open_channel(connection, publisher_confirms=True, on_return_raises=True)
        underlay = cast(UnderlayChannel, await channel.get_underlay_channel())
        patience = patience or Patience()
        patience.with_a_new_channel()
        return cls(channel, underlay, patience)

    @property
    def is_open(self) -> bool:
        """Whether the channel is open, as far as this side knows."""
        return not self._channel.is_closed

    @property
    def has_confirmed(self) -> bool:
        """Whether it may be given more than one batch.

        RabbitMQ reads 400 messages for a channel that takes none, and then no more from the whole
        connection.
        """
        return self._patience.is_rewarded

    async def close(self) -> None:
        """Close the channel."""
        with suppress(*BROKER_ERRORS):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
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
                    timeout=self._patience.within_s,
                    wait=False,
                )
        except PublishError:
            return False
        except BROKER_ERRORS as error:
            if isinstance(error, TimeoutError):
                self._patience.in_vain()
            raise NotConfirmed(repr(error)) from error
        else:
            if persistent:
                # Others go to queues of one node, which say nothing of the replicated ones.
                self._patience.rewarded()
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

    async def confirmed(self, *batches: Batch) -> list[Sequence[bool]]:
        """Whether the broker has taken each message, for each of the batches.

        One that is lost with the connection, or not told of in time, counts as not taken. Behind
        the first batch of which not all was told in time, no other is waited for.
        """
        try:
            with abandoning_is_an_error():
                for batch in batches:
                    async with asyncio.timeout(self._patience.within_s):
                        await batch.done
                    self._patience.rewarded()
        except TimeoutError:
            self._patience.in_vain()
        except BROKER_ERRORS:
            pass
        finally:
            for batch in batches:
                batch.give_up()
        return [batch.confirmed for batch in batches]

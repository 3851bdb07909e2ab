"""The broker, as services use it: they start and serve without it, and use it when it is there.

connection    one connection, kept alive, the topology declared each time it is made
publishing    with confirms; what the outbox's relay uses
consuming     a durable queue, each event once in effect
subscribing   a queue of one process, which knows when it may have missed something
"""

from shared.bus.connection import (
    BUS,
    Bus,
    NotConfirmed,
    abandoning_is_an_error,
    declare,
    end,
    on_every_connection,
    rabbitmq,
)
from shared.bus.consuming import Consumer, Handler, by_type, consume
from shared.bus.publishing import Publisher
from shared.bus.subscribing import Listener, subscribe

__all__ = [
    "BUS",
    "Bus",
    "Consumer",
    "Handler",
    "Listener",
    "NotConfirmed",
    "Publisher",
    "abandoning_is_an_error",
    "by_type",
    "consume",
    "declare",
    "end",
    "on_every_connection",
    "rabbitmq",
    "subscribe",
]

"""The broker and the outbox. Services start and serve without a broker, and use it once it is up.

topology      every exchange, queue and binding
connection    one connection, kept alive, the topology declared each time it is made
outbox        events, stored with the change that they describe
relay         publishes the outbox (`outbox_reading`: in which order; `outbox_floor`: from where)
publishing    publishing with confirms, for the relay
consuming     a durable queue: each event has its effect once
inbox         the ids of events that had their effect
subscribing   a queue of one process, which knows when it may have missed something
news          counts events, to notice one that arrives while an answer is saved
dead_letters  `python -m shared.messaging.dead_letters`
"""

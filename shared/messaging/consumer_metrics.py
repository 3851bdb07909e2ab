"""What consumers have done, and how far behind they are."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

CONSUMED: Final = Counter(
    "sigma_consumed_events_total",
    "Messages read from a queue, by outcome",
    ["queue", "outcome"],
)
CONSUMER_LAG: Final = Gauge(
    "sigma_consumer_lag_seconds",
    "Age of the oldest event being processed, 0 if there is none",
    ["queue"],
)
CONSUMER_WAITING: Final = Gauge(
    "sigma_consumer_waiting_messages",
    "Messages in the queue that no consumer has received",
    ["queue"],
)
DEAD_LETTERS: Final = Gauge(
    "sigma_dead_letters", "Messages in the dead-letter queue, which need attention", ["queue"]
)

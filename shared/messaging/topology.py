"""The broker's topology: every exchange, queue and binding, as data.

Every process declares all of it whenever it connects. A queue therefore exists before its consumer
has ever been started, and no event is lost because of the order in which services start.

    sigma.events (topic)   <- every outbox, routing key = the event's type
        ├── auth_service         quorum ── refused or malformed ─> sigma.dead ─> <queue>.dead
        ├── records_service      quorum ── refused or malformed ─> sigma.dead ─> <queue>.dead
        ├── records_service.jobs quorum ── refused or malformed ─> sigma.dead ─> <queue>.dead
        ├── workflow_service     quorum ── refused or malformed ─> sigma.dead ─> <queue>.dead
        └── one per gateway      exclusive, gone with its connection: `auth.#`

The arguments are valid on RabbitMQ 3.10 to 4.x:

- Quorum queues: the only replicated kind left in 4.x.
- A message that is refused is delivered again, `DELIVERIES_MAX` times at most; when the last
  delivery, the sixth, is refused as well, it goes to the dead letters.
- `at-least-once` dead-lettering, so that a broker that dies in between does not lose the message;
  it asks for `reject-publish`, which without a length limit never refuses anything.
- Queues have no length limit: a full one would make the broker refuse the event for every other
  consumer as well. They are bounded by the broker's disk alarm, which makes events stay in the
  outbox.
- Dead-letter queues are bounded and drop the oldest first: they are for inspection, not an archive.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

EVENTS: Final = "sigma.events"
DEAD_LETTERS: Final = "sigma.dead"
DELIVERIES_MAX: Final = 5
DEAD_LETTERS_MAX: Final = 100_000

AUTH_QUEUE: Final = "auth_service"
RECORDS_QUEUE: Final = "records_service"
RECORDS_JOBS_QUEUE: Final = "records_service.jobs"
WORKFLOW_QUEUE: Final = "workflow_service"


@dataclass(frozen=True, slots=True)
class Queue:
    """One durable queue, its dead letters, and the routing keys that it is bound to."""

    name: str
    bindings: tuple[str, ...]

    @property
    def dead(self) -> str:
        """The name of its dead-letter queue."""
        return f"{self.name}.dead"

    @property
    def arguments(self) -> dict[str, str | int]:
        """The declared arguments. They cannot be changed on an existing queue."""
        return {
            "x-queue-type": "quorum",
            "x-delivery-limit": DELIVERIES_MAX,
            "x-dead-letter-exchange": DEAD_LETTERS,
            "x-dead-letter-routing-key": self.name,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }

    @property
    def dead_arguments(self) -> dict[str, str | int]:
        """As `arguments`, for the dead letters."""
        return {
            "x-queue-type": "quorum",
            "x-max-length": DEAD_LETTERS_MAX,
            "x-overflow": "drop-head",
        }


QUEUES: Final = (
    Queue(
        RECORDS_QUEUE,
        (
            "auth.role.*",
            "auth.user.updated",
            "auth.user.disabled",
            "auth.user.deleted",
            "auth.key.deactivated",
            "auth.key.deleted",
            "workflow.#",
        ),
    ),
    Queue(RECORDS_JOBS_QUEUE, ("records.job",)),
    Queue(
        WORKFLOW_QUEUE,
        (
            "schema.created",
            "schema.updated",
            "schema.deleted",
            "schema.attribute.created",
            "schema.attribute.updated",
        ),
    ),
    Queue(AUTH_QUEUE, ("schema.created", "schema.attribute.created", "schema.attribute.updated")),
)

GATEWAY_BINDING: Final = "auth.#"


def matches(binding: str, routing_key: str) -> bool:
    """Whether a topic binding matches this routing key (`*` one word, `#` any number)."""
    return _matches(binding.split("."), routing_key.split("."))


def has_reader(event_type: str, queues: Iterable[Queue] = QUEUES) -> bool:
    """Whether some durable queue must receive events of this type."""
    return any(matches(binding, event_type) for queue in queues for binding in queue.bindings)


def _matches(pattern: list[str], words: list[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_matches(pattern[1:], words[skip:]) for skip in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _matches(pattern[1:], words[1:])

"""Background jobs: the row of a job lives as long as there is work, a message gives it its turn.

    await jobs.request(conn, RECORDS_JOB, SOURCE, workspace_id, "remove_values")  # in a command
    job_turns(QUEUE, RECORDS_JOB, SOURCE, {"remove_values": remove_some})         # in `create_app`

A job is identified by workspace, kind and key. It has no arguments: its work is in tables of the
feature, such as the list of attributes whose values are to be removed. The handler of its kind does
one slice of the work, of some 100 ms, in one transaction, and says whether more is left. A turn is
one slice while another job waits, and up to `TURN_S` of slices while none does. Then the job waits
for its next turn at the end of the queue. Therefore:

- A job is requested in the transaction that stores its work, through the outbox: both or neither.
- One slice of a job runs at a time, in order. Slices of different jobs alternate: a workspace with
  a million things to do delays the others by one slice per round.
- A slice takes effect exactly once, however often its message is delivered: its effect and how far
  the job is are one transaction, and that of the last slice of a turn has the message of the next
  turn as well. If the process dies, the slice is rolled back, and the broker gives the message to
  another process at once, which goes on with the same turn.
- A slice that fails is repeated like any event, and ends in the dead letters (`consuming`). The job
  stays. A job that had no turn for `LOST_AFTER_S` gets one again: its message may have been dropped
  or removed with its queue.

`shared.messaging.job_turns` runs them. The reasons, and the figures: docs/adr/0032.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

import structlog
from prometheus_client import Counter

from shared.database import Conn, Database
from shared.events import Event
from shared.messaging import outbox
from shared.process import tracing

log = structlog.get_logger(__name__)

Slice: TypeAlias = Callable[[Conn, str, str], Awaitable[bool]]
"""Does a part of the work of (workspace id, key) in the open transaction; whether more is left."""

TakeSlice: TypeAlias = Callable[[Conn, Event, Callable[[], bool]], Awaitable[bool]]
"""Does what a message asks for, in the open transaction; whether its turn goes on after that, which
the third argument allows or not."""

SCHEMA: Final = """
CREATE TABLE jobs (
    workspace_id text        NOT NULL,
    kind         text        NOT NULL,
    key          text        NOT NULL,
    turn         bigint      NOT NULL,
    requests     bigint      NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    lost_at      timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, kind, key)
);
CREATE INDEX jobs_by_loss ON jobs (lost_at);
"""
"""For a migration. `turn` counts turns; at `lost_at` the message of this turn counts as lost."""

TURN_S: Final = 2.0
"""After this, a turn has no further slice, though nobody waits. Less than a process may take to
stop, far less than a message may stay unanswered."""
LOST_AFTER_S: Final = 3600.0
"""Far longer than a message waits in the queue: a job that gets a turn again goes to its end."""
RESUMED_AT_ONCE: Final = 100

JOB_SLICES: Final = Counter("sigma_job_slices_total", "Slices of background jobs", ["kind"])


class UnknownKind(Exception):
    """This process has no handler for the job, one of a newer version has."""


async def request(
    conn: Conn, event_type: str, source: str, workspace_id: str, kind: str, key: str = ""
) -> None:
    """Make sure that the job has a turn after this transaction, whether or not it exists already.

    The caller has stored the work before. `event_type` is what the queue of the service's jobs is
    bound to. If a slice of the job is just being committed, this waits for the commit.
    """
    turn: int | None = await conn.fetchval(
        """
        INSERT INTO jobs AS job (workspace_id, kind, key, turn, requests, lost_at)
        VALUES ($1, $2, $3, 1, 1, now() + make_interval(secs => $4))
            ON CONFLICT (workspace_id, kind, key)
            DO UPDATE SET requests = job.requests + 1
        RETURNING CASE WHEN requests = 1 THEN turn END
        """,
        workspace_id,
        kind,
        key,
        LOST_AFTER_S,
    )
    if turn is not None:
        await outbox.stage(conn, _turn(event_type, source, workspace_id, kind, key, turn))


async def withdraw(conn: Conn, workspace_id: str, kind: str, key: str = "") -> None:
    """Delete the job: it has no turn any more, whatever message of it is under way.

    The caller has removed the work before, and holds a lock that a slice of the job needs, so that
    none runs. A job that is requested again begins with its first turn; an old message of that is
    as good as the new one.
    """
    await conn.execute(
        "DELETE FROM jobs WHERE workspace_id = $1 AND kind = $2 AND key = $3",
        workspace_id,
        kind,
        key,
    )


def slices(event_type: str, source: str, kinds: Mapping[str, Slice]) -> TakeSlice:
    """What a message asks for: one slice of a job, then its next turn or its end.

    Where the turn goes on instead, the message still stands for it.
    """

    async def take_slice(conn: Conn, event: Event, goes_on: Callable[[], bool]) -> bool:
        workspace_id, kind, key = event.workspace_id, event.data["kind"], event.data["key"]
        # Not locked: a command that requests the job holds other locks, which the slice may need.
        # The statements of a slice are planned anew: a kept plan is that of the tables as they were
        # once, and reads all of a table that was empty then, for as long as the table grows.
        job = await conn.fetchrow(
            """
            SELECT turn, requests, set_config('plan_cache_mode', 'force_custom_plan', true)
              FROM jobs
             WHERE workspace_id = $1 AND kind = $2 AND key = $3
            """,
            workspace_id,
            kind,
            key,
        )
        if job is None or job["turn"] != event.version:
            return False
        run = kinds.get(kind)
        if run is None:
            raise UnknownKind(kind)
        more = await run(conn, workspace_id, key)
        JOB_SLICES.labels(kind).inc()
        if more and goes_on():
            return True
        if more or not await _delete(conn, workspace_id, kind, key, job["requests"]):
            await _next_turn(conn, event_type, source, workspace_id, kind, key, event.version)
        return False

    return take_slice


async def resume_lost(database: Database, event_type: str, source: str) -> int:
    """Give a turn to jobs whose message is lost; how many there were. Processes may do it at once.

    A message that comes after all is of an earlier turn and has no effect.
    """
    lost = await database.fetch(
        """
        SELECT workspace_id, kind, key, turn FROM jobs
         WHERE lost_at <= now()
         ORDER BY lost_at
         LIMIT $1
        """,
        RESUMED_AT_ONCE,
    )
    resumed = 0
    for row in lost:
        async with database.transaction() as conn:
            resumed += await _next_turn(conn, event_type, source, *row)
    if resumed:
        log.warning("lost_jobs_resumed", jobs=resumed)
    return resumed


async def lose_messages(conn: Conn) -> None:
    """The queues are gone, or are those of another time: every job gets its turn again."""
    await conn.execute("UPDATE jobs SET lost_at = now()")


async def _delete(conn: Conn, workspace_id: str, kind: str, key: str, requests: int) -> bool:
    """Delete a job without work, unless it was requested again while the slice ran."""
    tag = await conn.execute(
        """
        DELETE FROM jobs
         WHERE workspace_id = $1 AND kind = $2 AND key = $3 AND requests = $4
        """,
        workspace_id,
        kind,
        key,
        requests,
    )
    return tag == "DELETE 1"


async def _next_turn(
    conn: Conn, event_type: str, source: str, workspace_id: str, kind: str, key: str, turn: int
) -> bool:
    """End this turn and stage the next; False if the turn had ended already."""
    tag = await conn.execute(
        """
        UPDATE jobs SET turn = $4 + 1, lost_at = now() + make_interval(secs => $5)
         WHERE workspace_id = $1 AND kind = $2 AND key = $3 AND turn = $4
        """,
        workspace_id,
        kind,
        key,
        turn,
        LOST_AFTER_S,
    )
    if tag != "UPDATE 1":
        return False
    # A job may have thousands of turns: the trace of whoever requested it has the first.
    with tracing.caused_by(None):
        await outbox.stage(conn, _turn(event_type, source, workspace_id, kind, key, turn + 1))
    return True


def _turn(event_type: str, source: str, workspace_id: str, kind: str, key: str, turn: int) -> Event:
    data = {"kind": kind, "key": key, "version": turn}
    return Event(event_type, source, workspace_id, f"{kind}/{key}", data)

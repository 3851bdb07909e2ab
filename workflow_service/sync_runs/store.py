"""The SQL of synchronisations and of what failed in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from shared.database import Conn, Record, mapping_constraints
from shared.database.listing import BEGINNING, Narrowing, Piece, Position
from shared.database.paging import Key, Order, Part, Place, Total
from shared.errors import Conflict, NotFound, truncated
from workflow_service.leases import LeasedTable, Waiting
from workflow_service.sync_runs.model import (
    ERRORS_SHOWN,
    Counts,
    Direction,
    Failure,
    Run,
    Status,
    Step,
)

LEASE_S: Final = 30.0
DUE_AT_ONCE: Final = 8
PAUSES_MAX: Final = 20
"""In a row, without anything that the target has taken in between."""
RUNS: Final = LeasedTable("sync_runs", of="channel_id", holder="holder", until="due_at")
LOGS_MAX: Final = 500
"""Of one channel; the oldest go when one begins."""
FAILURES_MAX: Final = 10_000
"""That are kept of one synchronisation; all are counted."""
_COLUMNS: Final = """
    workspace_id, channel_id, id, direction, status, caller_kind, caller_id, created_at,
    completed_at, created, updated, skipped, failed, error, step, place, checkpoint, holder,
    traceparent
"""
_RUNS_OF_COLUMNS: Final = ", ".join(f"r.{name.strip()}" for name in _COLUMNS.split(","))
ERRORS_IN_ORDER: Final[Order] = (Key("place", int), Key("item", str))


def parsed(row: Record) -> Run:
    """The synchronisation in a row."""
    fields = {name: row[name] for name in Run.__dataclass_fields__}
    return Run(
        **{
            **fields,
            "direction": Direction(row["direction"]),
            "status": Status(row["status"]),
            "step": Step(row["step"]),
        }
    )


async def begin(conn: Conn, run: Run) -> None:
    """Store a new synchronisation, due at once; `Conflict` while the channel has another."""
    with mapping_constraints(
        {
            "sync_runs_one_at_a_time": lambda: Conflict(
                f"Channel '{truncated(run.channel_id)}' is being synchronised at the moment"
            )
        }
    ):
        await conn.execute(
            """
            INSERT INTO sync_runs
                   (workspace_id, channel_id, id, direction, status, caller_kind, caller_id,
                    created_at, step, due_at, traceparent)
            VALUES ($1, $2, $3, $4, 'running', $5, $6, $7, $8, now(), $9)
            """,
            run.workspace_id,
            run.channel_id,
            run.id,
            run.direction,
            run.caller_kind,
            run.caller_id,
            run.created_at,
            run.step,
            run.traceparent,
        )
    await conn.execute(
        """
        DELETE FROM sync_runs
         WHERE workspace_id = $1 AND channel_id = $2
           AND id IN (SELECT id FROM sync_runs
                       WHERE workspace_id = $1 AND channel_id = $2
                       ORDER BY created_at DESC, id DESC
                      OFFSET $3 LIMIT 10)
        """,
        run.workspace_id,
        run.channel_id,
        LOGS_MAX,
    )


async def get(conn: Conn, workspace_id: str, channel_id: str, run_id: str) -> Run:
    """A synchronisation; `NotFound`."""
    row = await conn.fetchrow(
        f"""
        SELECT {_COLUMNS} FROM sync_runs
         WHERE workspace_id = $1 AND channel_id = $2 AND id = $3
        """,  # noqa: S608 - constants
        workspace_id,
        channel_id,
        run_id,
    )
    if row is None:
        raise NotFound.of("Sync log", run_id)
    return parsed(row)


async def page(
    conn: Conn, workspace_id: str, after: Position, channel_id: str, narrowing: Narrowing
) -> Piece:
    """Rows of synchronisations, newest first, with their first errors; whether more follow."""
    arguments = [*narrowing.arguments]
    rows = await conn.fetch(
        f"""
        SELECT {_RUNS_OF_COLUMNS},
               (SELECT coalesce(jsonb_agg(jsonb_build_array(
                           e.entity_id, e.external_id, e.message, e.detail) ORDER BY e.place), '[]')
                  FROM (SELECT entity_id, external_id, message, detail, place FROM sync_errors
                         WHERE workspace_id = $1 AND channel_id = r.channel_id AND run_id = r.id
                         ORDER BY place
                         LIMIT {ERRORS_SHOWN}) e)::text AS errors
          FROM sync_runs r
         WHERE workspace_id = $1
           AND ($3 = '' OR (created_at, id) < ($2, $3)) AND $5
           {narrowing.condition}
           AND channel_id = ${len(arguments) + 6}
         ORDER BY created_at DESC, id DESC
         LIMIT $4
        """,  # noqa: S608 - constants
        workspace_id,
        *(after or BEGINNING),
        narrowing.rows,
        True,
        *arguments,
        channel_id,
    )
    return rows, len(rows) == narrowing.rows


async def errors_of(conn: Conn, run: Run, place: Place) -> tuple[Part[Record], Total | None]:
    """What failed, in order, and how much in all."""
    arguments: list[Any] = [run.workspace_id, run.channel_id, run.id]
    source = "sync_errors WHERE workspace_id = $1 AND channel_id = $2 AND run_id = $3"
    columns = "place, item, entity_id, external_id, message, detail"
    selected = place.select(columns, source, arguments)
    rows = await conn.fetch(
        f"""
        SELECT wanted.*, head.counted
          FROM ({place.count(source)}) head (counted)
          LEFT JOIN ({selected}) wanted ON true
         ORDER BY wanted.place, wanted.item
        """,  # noqa: S608 - constants
        *arguments,
    )
    part = place.part([row for row in rows if row["item"] is not None])
    return part, await place.total(conn, part, rows[0]["counted"], source, arguments)


async def first_errors(conn: Conn, run: Run) -> Sequence[Record]:
    """The first that failed."""
    return await conn.fetch(
        """
        SELECT entity_id, external_id, message, detail FROM sync_errors
         WHERE workspace_id = $1 AND channel_id = $2 AND run_id = $3
         ORDER BY place
         LIMIT $4
        """,
        run.workspace_id,
        run.channel_id,
        run.id,
        ERRORS_SHOWN,
    )


async def claim(conn: Conn, waiting: Waiting, holder: str) -> Run | None:
    """The synchronisation, which is the holder's for `LEASE_S`; None if another has it."""
    row = await RUNS.claim(conn, waiting, holder, LEASE_S, returning=_COLUMNS)
    return None if row is None else parsed(row)


async def renew(conn: Conn, run: Run) -> None:
    """Hold a synchronisation for another `LEASE_S`; raises `Lost`."""
    await RUNS.renew(conn, run.lease, LEASE_S)


async def release(conn: Conn, run: Run, after_s: float) -> None:
    """Let another process go on with it, after a while."""
    await RUNS.release(conn, run.lease, after_s)


async def pause(conn: Conn, run: Run, after_s: float) -> bool:
    """Let any process go on after a while, because the target asks to wait; raises `Lost`.

    False if it has asked for `PAUSES_MAX` times in a row: then the run is still the holder's.
    """
    row = await RUNS.update(conn, run.lease, "pauses = pauses + 1", returning="pauses")
    if row["pauses"] > PAUSES_MAX:
        return False
    await RUNS.release(conn, run.lease, after_s)
    return True


async def wake_inactive(conn: Conn) -> None:
    """Let those that wait for their targets go on whose channel is not active any more: they end.

    Asked of all workspaces, by an index of the rows that run.
    """
    await conn.execute(
        """
        UPDATE sync_runs run SET due_at = now()
          FROM channels channel
         WHERE run.status = 'running' AND run.holder IS NULL AND run.due_at > now()
           AND channel.workspace_id = run.workspace_id AND channel.id = run.channel_id
           AND channel.body -> 'active' = 'false'
        """
    )


async def advance(conn: Conn, run: Run, step: Step, place: Any) -> None:
    """Note how far a synchronisation is; raises `Lost`. The transaction has its effect as well."""
    await RUNS.update(conn, run.lease, "step = $5, place = $6, pauses = 0", step, place)


async def note(conn: Conn, run: Run, checkpoint: str | None) -> None:
    """Keep what a connector notes; raises `Lost`."""
    await RUNS.update(conn, run.lease, "checkpoint = $5", checkpoint)


async def add(conn: Conn, run: Run, counts: Counts) -> None:
    """Count what became of some; what failed is counted and kept once. Raises `Lost`."""
    failed = await _keep_failures(conn, run, counts.failures) if counts.failures else 0
    await RUNS.update(
        conn,
        run.lease,
        """
        created = created + $5, updated = updated + $6, skipped = skipped + $7,
        failed = failed + $8, pauses = CASE WHEN $5 + $6 > 0 THEN 0 ELSE pauses END
        """,
        counts.created,
        counts.updated,
        counts.skipped,
        failed,
    )


async def _keep_failures(conn: Conn, run: Run, failures: Sequence[Failure]) -> int:
    """How many are new. Beyond `FAILURES_MAX`, a page that is repeated may count them again."""
    new: int = await conn.fetchval(
        """
        WITH before AS (
            SELECT failed FROM sync_runs
             WHERE workspace_id = $1 AND channel_id = $2 AND id = $3
        ), named AS (
            SELECT f.*, before.failed + f.number AS place
              FROM before, unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
                           WITH ORDINALITY AS f (item, entity_id, external_id, message, detail,
                                                 number)
        ), stored AS (
            INSERT INTO sync_errors (workspace_id, channel_id, run_id, place, item, entity_id,
                                     external_id, message, detail)
            SELECT $1, $2, $3, place, item, entity_id, external_id, message, detail
              FROM named
             WHERE place <= $9
                ON CONFLICT (workspace_id, channel_id, run_id, item) DO NOTHING
            RETURNING 1
        )
        SELECT (SELECT count(*) FROM stored) + (SELECT count(*) FROM named WHERE place > $9)
        """,
        run.workspace_id,
        run.channel_id,
        run.id,
        [each.item for each in failures],
        [each.entity_id for each in failures],
        [each.external_id for each in failures],
        [_storable(each.message) for each in failures],
        [None if each.detail is None else _storable(each.detail) for each in failures],
        FAILURES_MAX,
    )
    return new


async def finish(conn: Conn, run: Run, error: str | None) -> Run:
    """End a synchronisation, with the status that its counts say; raises `Lost`."""
    row = await RUNS.update(
        conn,
        run.lease,
        """
        status = CASE WHEN $5::text IS NULL AND failed = 0 THEN 'success'
                      WHEN created + updated + skipped > 0 THEN 'partial'
                      ELSE 'failed' END,
        error = $5, completed_at = now(), step = 'done', place = NULL, holder = NULL,
        checkpoint = NULL
        """,
        error,
        returning=_COLUMNS,
    )
    return parsed(row)


def _storable(text: str) -> str:
    """PostgreSQL keeps no NUL, and what a target answers may have some."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")

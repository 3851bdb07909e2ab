"""The SQL of runs. Leases are set and judged by the clock of the database."""

from __future__ import annotations

from typing import Final

from shared.database import Conn, Record, mapping_constraints
from shared.errors import Conflict, truncated
from workflow_service.export_runs.model import RUNS_KEPT, Claim, Done, Run
from workflow_service.leases import LeasedTable, Waiting

RUNS: Final = LeasedTable("export_runs", of="job_id", holder="worker", until="leased_until")
_COLUMNS: Final = """
    job_id, id, status, started_at, completed_at, record_count, file_size, replaced_characters,
    destination_path, error, runs_as, runs_as_kind
"""


async def find_all(conn: Conn, workspace_id: str, job_id: str) -> list[Run]:
    """The runs that are kept, newest first."""
    rows = await conn.fetch(
        f"""
        SELECT {_COLUMNS} FROM export_runs
         WHERE workspace_id = $1 AND job_id = $2
         ORDER BY started_at DESC, id DESC
         LIMIT $3
        """,  # noqa: S608 - constants
        workspace_id,
        job_id,
        RUNS_KEPT,
    )
    return [Run(**row) for row in rows]


async def begin(
    conn: Conn, workspace_id: str, job_id: str, run_id: str, traceparent: str | None
) -> Run:
    """A new run, for any worker to claim, in the trace of the request that begins it, if any.

    Raises `Conflict` while another one is running.
    """
    running = Conflict(f"Export job '{truncated(job_id)}' is running already")
    with mapping_constraints({"export_runs_one_at_a_time": lambda: running}):
        row = await conn.fetchrow(
            f"""
            INSERT INTO export_runs
                   (workspace_id, job_id, id, status, started_at, leased_until, traceparent)
            VALUES ($1, $2, $3, 'running', clock_timestamp(), clock_timestamp(), $4)
            RETURNING {_COLUMNS}
            """,  # noqa: S608 - constants
            workspace_id,
            job_id,
            run_id,
            traceparent,
        )
    assert row is not None
    return Run(**row)


async def is_running(conn: Conn, workspace_id: str, job_id: str) -> bool:
    """Whether a run of the job is under way or waits for a worker."""
    found = await conn.fetchval(
        """
        SELECT true FROM export_runs
         WHERE workspace_id = $1 AND job_id = $2 AND status = 'running'
        """,
        workspace_id,
        job_id,
    )
    return found is not None


async def record(conn: Conn, workspace_id: str, run: Run) -> None:
    """Store a run that was made elsewhere."""
    await conn.execute(
        """
        INSERT INTO export_runs (workspace_id, job_id, id, status, started_at, completed_at,
                                 record_count, file_size, destination_path, error, runs_as,
                                 runs_as_kind)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        """,
        workspace_id,
        run.job_id,
        run.id,
        run.status,
        run.started_at,
        run.completed_at,
        run.record_count,
        run.file_size,
        run.destination_path,
        run.error,
        run.runs_as,
        run.runs_as_kind,
    )


async def remove_old(conn: Conn, workspace_id: str, job_id: str) -> None:
    """Remove what has ended and is older than the runs that are kept."""
    await conn.execute(
        """
        DELETE FROM export_runs
         WHERE workspace_id = $1 AND job_id = $2 AND status <> 'running'
           AND (started_at, id) < (SELECT kept.started_at, kept.id
                                     FROM export_runs AS kept
                                    WHERE kept.workspace_id = $1 AND kept.job_id = $2
                                    ORDER BY kept.started_at DESC, kept.id DESC
                                   OFFSET $3 LIMIT 1)
        """,
        workspace_id,
        job_id,
        RUNS_KEPT - 1,
    )


async def lock_claims(conn: Conn, workspace_id: str) -> None:
    """One claim in a workspace at a time, so that it never has more runs than it may."""
    await conn.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('export_runs ' || $1, 0))", workspace_id
    )


async def has_room(conn: Conn, workspace_id: str, runs_max: int) -> bool:
    """Whether fewer runs of the workspace are under way."""
    under_way: int = await conn.fetchval(
        """
        SELECT count(*) FROM export_runs
         WHERE workspace_id = $1 AND status = 'running' AND worker IS NOT NULL
           AND leased_until > clock_timestamp()
        """,
        workspace_id,
    )
    return under_way < runs_max


async def claim(conn: Conn, waiting: Waiting, worker: str, lease_s: float) -> Claim | None:
    """Take a run that waits, in a transaction; None if another worker was faster."""
    run = await RUNS.claim(
        conn,
        waiting,
        worker,
        lease_s,
        also=", attempt = attempt + 1",
        returning="workspace_id, job_id, id AS run_id, worker, attempt, started_at, traceparent",
    )
    if run is None:
        return None
    # Its row is locked now, so the job is not deleted before the end of the transaction.
    job = await conn.fetchrow(
        """
        SELECT body, sealed, runs_as, runs_as_kind FROM export_jobs
         WHERE workspace_id = $1 AND id = $2
        """,
        waiting.workspace_id,
        waiting.of_id,
    )
    assert job is not None
    lease = waiting.lease(worker)
    rights = job["runs_as"], job["runs_as_kind"]
    await RUNS.update(conn, lease, "runs_as = $5, runs_as_kind = $6", *rights)
    return Claim(**run, **job)


async def renew(conn: Conn, claim: Claim, lease_s: float) -> None:
    """Go on with a run; raises `Lost` if it ended, or another worker has it."""
    await RUNS.renew(conn, claim.lease, lease_s)


async def release(conn: Conn, claim: Claim, after_s: float, *, counts: bool) -> None:
    """Let any worker start the run anew after this time; `counts` as an attempt or not."""
    also = "" if counts else ", attempt = attempt - 1"
    await RUNS.release(conn, claim.lease, after_s, also=also)


async def finish(conn: Conn, claim: Claim, done: Done) -> None:
    """Store what came of a run; raises `Lost`."""
    await RUNS.update(
        conn,
        claim.lease,
        """
        status = $5, completed_at = now(), record_count = $6, file_size = $7,
        replaced_characters = $8, destination_path = $9, error = $10, worker = NULL,
        leased_until = NULL
        """,
        "success" if done.error is None else "failed",
        done.record_count,
        done.file_size,
        done.replaced_characters,
        done.destination_path,
        done.error,
    )


async def until_next(conn: Conn) -> Record:
    """Seconds until the next schedule is due and until the next lease ends; negative if late."""
    row = await conn.fetchrow(
        """
        SELECT extract(epoch FROM (SELECT min(next_run_at) FROM export_jobs
                                    WHERE next_run_at IS NOT NULL)
                                  - clock_timestamp())::float8 AS schedule,
               extract(epoch FROM (SELECT min(leased_until) FROM export_runs
                                    WHERE status = 'running')
                                  - clock_timestamp())::float8 AS lease
        """
    )
    assert row is not None
    return row

"""Keeps everybody from writing one workspace in a database, while it is moved away.

Each table with rows of workspaces gets two triggers for the time of the move, which do something
for rows of this workspace only. They decide by the phase of the move, under an advisory lock that
every writer shares until its transaction ends:

    open        writes pass; of events that services hear from each other, the ids are noted
    draining    no new event: what is under way between the services can come to its end
    closed      nothing is written
    moved       nothing is written ever again here, but for the removal of what is old

`draining` and `closed` end by themselves at a time that stands in the row: if the tool dies, the
workspace is open again. `moved` does not end. Who changes the phase takes the lock alone, so every
transaction has ended that has seen the phase before. A write that is refused is an operator
intervention to PostgreSQL (57000), which the services answer with 503 and `Retry-After`. It names
one of two constraints, so that the answer says that the workspace is being moved, or has moved.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Final

import asyncpg

from deploy.workspaces.databases import Database, Failed, quoted
from deploy.workspaces.tables import Table
from shared.database import constraints
from shared.database.connection import Conn
from shared.messaging.topology import QUEUES, RECORDS_JOBS_QUEUE, matches

OPEN, DRAINING, CLOSED, MOVED = "open", "draining", "closed", "moved"
LOCK_TIMEOUT: Final = "1s"
LOCK_ATTEMPTS: Final = 30
PHASE_LOCK_TIMEOUT: Final = "5s"
PASSES: Final = "sigma_moves.passes"
"""The tool's own sessions set it, and write a workspace that has moved: they clear it away."""
JOB: Final = "records.job"
HEARD: Final = tuple(queue for queue in QUEUES if queue.name != RECORDS_JOBS_QUEUE)
"""The queues by which services hear from each other; that of jobs is a service's own."""

_SCHEMA: Final = (
    "CREATE SCHEMA IF NOT EXISTS sigma_moves",
    """CREATE TABLE IF NOT EXISTS sigma_moves.moves (
           workspace_id text PRIMARY KEY,
           phase        text NOT NULL,
           until        timestamptz NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS sigma_moves.staged (
           workspace_id text NOT NULL,
           event_id     text NOT NULL,
           type         text NOT NULL,
           PRIMARY KEY (workspace_id, event_id))""",
    # Of the administrator: the services need no rights on the tables above.
    f"""CREATE OR REPLACE FUNCTION sigma_moves.phase_of(workspace text, lock bigint) RETURNS text
        LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
        DECLARE found text;
        BEGIN
            PERFORM pg_advisory_xact_lock_shared(lock);
            -- A statement of its own: it sees what was committed while this waited for the lock.
            SELECT phase INTO found FROM sigma_moves.moves
             WHERE workspace_id = workspace AND until > clock_timestamp();
            RETURN coalesce(found, '{OPEN}');
        END $$""",
    # For who tells events again: it may ask, and sees no row.
    "GRANT USAGE ON SCHEMA sigma_moves TO PUBLIC",
    f"""CREATE OR REPLACE FUNCTION sigma_moves.has_moved(workspace text) RETURNS boolean
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
            SELECT EXISTS (SELECT FROM sigma_moves.moves
                            WHERE workspace_id = workspace AND phase = '{MOVED}') $$""",
    f"""CREATE OR REPLACE FUNCTION sigma_moves.refuse(phase text) RETURNS void
        LANGUAGE plpgsql AS $$
        BEGIN
            IF phase = '{MOVED}' THEN
                RAISE EXCEPTION 'the workspace has moved to another database'
                      USING ERRCODE = '57000', CONSTRAINT = '{constraints.MOVED}';
            END IF;
            RAISE EXCEPTION 'the workspace is being moved to another database'
                  USING ERRCODE = '57000', CONSTRAINT = '{constraints.MOVING}';
        END $$""",
    f"""CREATE OR REPLACE FUNCTION sigma_moves.fence() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
        DECLARE phase text := sigma_moves.phase_of(TG_ARGV[0], TG_ARGV[1]::bigint);
        BEGIN
            IF (phase = '{CLOSED}' OR phase = '{MOVED}' AND TG_ARGV[2] <> 'swept')
               AND current_setting('{PASSES}', true) IS DISTINCT FROM 'on' THEN
                IF TG_OP = 'UPDATE' AND TG_ARGV[3] <> ''
                   AND to_jsonb(NEW) - TG_ARGV[3] = to_jsonb(OLD) - TG_ARGV[3] THEN
                    RETURN NULL;
                END IF;
                PERFORM sigma_moves.refuse(phase);
            END IF;
            IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
            RETURN NEW;
        END $$""",
    f"""CREATE OR REPLACE FUNCTION sigma_moves.fence_events() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
        DECLARE phase text := sigma_moves.phase_of(TG_ARGV[0], TG_ARGV[1]::bigint);
        BEGIN
            IF phase IN ('{CLOSED}', '{MOVED}') OR phase = '{DRAINING}' AND NEW.type <> '{JOB}' THEN
                PERFORM sigma_moves.refuse(phase);
            END IF;
            IF NEW.type !~ '^(entity|catalog|category|records)[.]' THEN
                INSERT INTO sigma_moves.staged VALUES (TG_ARGV[0], NEW.event_id, NEW.type)
                    ON CONFLICT DO NOTHING;
            END IF;
            RETURN NEW;
        END $$""",
)


def key_of(workspace_id: str) -> str:
    """A short name of the workspace, of letters and digits that every name may have."""
    return hashlib.sha256(workspace_id.encode()).hexdigest()[:12]


def lock_of(workspace_id: str) -> int:
    """The number of its advisory lock."""
    digest = hashlib.sha256(b"sigma workspace move\0" + workspace_id.encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


async def prepare(conn: Conn) -> None:
    """Make the tables of moves, if they are not there."""
    for statement in _SCHEMA:
        await conn.execute(statement)


async def raise_fence(database: Database, workspace_id: str) -> None:
    """Put up the triggers, open; repeatable. Raises `Failed` if a table stays locked."""
    await prepare(database.conn)
    await database.conn.execute(
        f"INSERT INTO sigma_moves.moves VALUES ($1, '{OPEN}', 'infinity') ON CONFLICT DO NOTHING",
        workspace_id,
    )
    for table in database.tables:
        for statement in _triggers(table, workspace_id):
            await _with_short_locks(database, statement)


async def take_down(database: Database, workspace_id: str) -> None:
    """Remove the triggers and what is known of the move; repeatable."""
    for table in database.tables:
        for name in _trigger_names(workspace_id):
            await _with_short_locks(database, f"DROP TRIGGER IF EXISTS {name} ON {table.name}")
    await prepare(database.conn)
    for kept in ("staged", "moves"):
        await database.conn.execute(
            f"DELETE FROM sigma_moves.{kept} WHERE workspace_id = $1",
            workspace_id,
        )


async def phase_of(database: Database, workspace_id: str) -> str | None:
    """The phase; None where no move has begun."""
    if await database.conn.fetchval("SELECT to_regclass('sigma_moves.moves')") is None:
        return None
    phase: str | None = await database.conn.fetchval(
        f"""SELECT CASE WHEN until > clock_timestamp() THEN phase ELSE '{OPEN}' END
              FROM sigma_moves.moves WHERE workspace_id = $1""",
        workspace_id,
    )
    return phase


async def enter(
    database: Database, workspace_id: str, phase: str, *, before: Iterable[str], for_s: float | None
) -> bool:
    """Begin a phase, when every transaction that has seen the one before has ended.

    It ends by itself after `for_s` seconds (None: never). False if the phase was none of `before`,
    or has ended. Raises `asyncpg.LockNotAvailableError` while a writer holds on for long.
    """
    conn = database.conn
    async with conn.transaction():
        await conn.execute(f"SET LOCAL lock_timeout = '{PHASE_LOCK_TIMEOUT}'")
        await conn.execute("SELECT pg_advisory_xact_lock($1)", lock_of(workspace_id))
        tag = await conn.execute(
            """UPDATE sigma_moves.moves
                  SET phase = $2,
                      until = CASE WHEN $4::float8 IS NULL THEN 'infinity'
                                   ELSE clock_timestamp() + make_interval(secs => $4) END
                WHERE workspace_id = $1 AND phase = ANY($3::text[])
                  AND (until > clock_timestamp() OR $2 = 'open')""",
            workspace_id,
            phase,
            list(before),
            for_s,
        )
    return bool(tag == "UPDATE 1")


async def events_on_their_way(databases: Iterable[Database], workspace_id: str) -> int:
    """How many events wait to be published, or to be handled by another service."""
    known = {database.service: database for database in databases}
    waiting = 0
    staged: list[asyncpg.Record] = []
    for database in known.values():
        waiting += await database.conn.fetchval(
            "SELECT count(*) FROM outbox WHERE workspace_id = $1", workspace_id
        )
        staged += await database.conn.fetch(
            "SELECT event_id, type FROM sigma_moves.staged WHERE workspace_id = $1", workspace_id
        )
    for queue in HEARD:
        # A queue has the name of the service that hears it.
        ids = [
            row["event_id"]
            for row in staged
            if any(matches(binding, row["type"]) for binding in queue.bindings)
        ]
        waiting += await known[queue.name].conn.fetchval(
            """SELECT count(*) FROM unnest($2::text[]) AS staged (event_id)
                WHERE NOT EXISTS (SELECT FROM inbox
                                   WHERE consumer = $1 AND inbox.event_id = staged.event_id)""",
            queue.name,
            ids,
        )
    return waiting


def _trigger_names(workspace_id: str) -> tuple[str, str]:
    key = key_of(workspace_id)
    return f"sigma_move_{key}_new", f"sigma_move_{key}_old"


def _triggers(table: Table, workspace_id: str) -> list[str]:
    of_new, of_old = _trigger_names(workspace_id)
    arguments = ", ".join(
        map(
            quoted,
            (
                workspace_id,
                str(lock_of(workspace_id)),
                "swept" if table.swept else "kept",
                table.noted,
            ),
        )
    )
    this = quoted(workspace_id)
    if table.name == "outbox":
        # What is published is deleted.
        triggers = [(of_new, "INSERT", "NEW", "fence_events")]
    else:
        triggers = [
            (of_new, "INSERT", "NEW", "fence"),
            (of_old, "UPDATE OR DELETE", "OLD", "fence"),
        ]
    return [
        f"CREATE OR REPLACE TRIGGER {name} BEFORE {events} ON {table.name} FOR EACH ROW"
        f" WHEN ({row}.workspace_id = {this}) EXECUTE FUNCTION sigma_moves.{calls}({arguments})"
        for name, events, row, calls in triggers
    ]


async def _with_short_locks(database: Database, statement: str) -> None:
    """Run it without keeping the writers of the table waiting for more than a second."""
    for _ in range(LOCK_ATTEMPTS):
        try:
            async with database.conn.transaction():
                await database.conn.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
                await database.conn.execute(statement)
        except asyncpg.LockNotAvailableError:
            await asyncio.sleep(1)
        else:
            return
    raise Failed(
        f"{database.service}: a table stays locked by others, so nothing was changed further:"
        f" {statement.partition(' FOR EACH')[0]}"
    )

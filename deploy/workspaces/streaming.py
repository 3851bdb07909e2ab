"""Brings rows of a workspace to another server by logical replication, while clients write.

A publication of the source has the tables, each with a row filter; a subscription of the target
copies what is there and follows what changes. A replication slot keeps the source's write-ahead log
until the target has it, so none may be left behind: `end` removes all of it by name.
"""

from __future__ import annotations

import asyncio
from typing import Final

import asyncpg

from deploy.workspaces.databases import Database, Failed, key_of, quoted
from deploy.workspaces.fence import key_of as workspace_key
from deploy.workspaces.tables import Moves
from shared.database.addresses import for_libpq

LOOK_S: Final = 0.02
SLOT_WAIT_S: Final = 10.0


def streamed(database: Database) -> list[str]:
    """The tables that are moved while clients write."""
    return [table.name for table in database.tables if table.moves is Moves.BEFORE]


def name_of(service: str, workspace_id: str) -> str:
    """The name of publication, subscription and slot."""
    return f"sigma_move_{service}_{workspace_key(workspace_id)}"


async def faults_of_source(source: Database, workspace_id: str, slots: int) -> list[str]:
    """What the source's server lacks for a move, a sentence each; nothing once it has begun."""
    conn = source.conn
    if await _slots(source, name_of(source.service, workspace_id)):
        return []
    faults = []
    if await conn.fetchval("SHOW wal_level") != "logical":
        faults.append("needs wal_level = logical (and a restart)")
    free = await conn.fetchval(
        """SELECT least(current_setting('max_replication_slots')::int,
                        current_setting('max_wal_senders')::int)
                  - (SELECT count(*) FROM pg_replication_slots)"""
    )
    if free < slots:
        faults.append(f"needs {slots} free replication slots and WAL senders, and has {free}")
    if not await conn.fetchval(
        "SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user"
    ):
        faults.append("needs a role with REPLICATION")
    faults += await _faults_of_both(source)
    for name in streamed(source):
        if "workspace_id" not in await key_of(conn, name):
            faults.append(f"{name} has no primary key with workspace_id")
    return faults


async def faults_of_target(target: Database) -> list[str]:
    """As `faults_of_source`, of the target."""
    faults = await _faults_of_both(target)
    if not await target.conn.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        faults.append("needs a superuser, who may subscribe")
    return faults


async def _faults_of_both(database: Database) -> list[str]:
    faults = []
    if database.conn.get_server_version().major < 15:  # noqa: PLR2004 - the version with row filters
        faults.append("needs PostgreSQL 15 or newer")
    if await database.conn.fetchval(
        "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')"
    ):
        faults.append("is on Citus, which moves workspaces between its nodes by itself")
    return faults


async def begin(source: Database, target: Database, workspace_id: str) -> None:
    """Publish, reserve the log, subscribe; what is there already stays."""
    name = name_of(source.service, workspace_id)
    if not await source.conn.fetchval(
        "SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = $1)", name
    ):
        where = f"WHERE (workspace_id = {quoted(workspace_id)})"
        tables = ", ".join(f"{table} {where}" for table in streamed(source))
        await source.conn.execute(
            f"CREATE PUBLICATION {name} FOR TABLE {tables} WITH (publish_via_partition_root = true)"
        )
    if not await _slots(source, name):
        await source.conn.execute("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", name)
    if not await _is_subscribed(target, name):
        # The slot is made before, by us: a server that subscribes to itself would wait for ever.
        at = quoted(for_libpq(source.url))
        await target.conn.execute(
            f"CREATE SUBSCRIPTION {name} CONNECTION {at} PUBLICATION {name}"
            f" WITH (create_slot = false, slot_name = {quoted(name)})"
        )


async def tables_to_copy(target: Database, workspace_id: str) -> int:
    """How many tables are not copied yet. Raises `Failed` if the target cannot apply something."""
    name = name_of(target.service, workspace_id)
    row = await target.conn.fetchrow(
        """SELECT (SELECT count(*) FROM pg_subscription_rel
                    WHERE srsubid = s.oid AND srsubstate NOT IN ('r', 's')) AS left,
                  (SELECT apply_error_count + sync_error_count
                     FROM pg_stat_subscription_stats WHERE subid = s.oid) AS errors
             FROM pg_subscription s
            WHERE subname = $1 AND subdbid = (SELECT oid FROM pg_database
                                               WHERE datname = current_database())""",
        name,
    )
    if row is None:
        raise Failed(f"{target.service}: the target has lost its subscription {name}")
    if row["errors"]:
        raise Failed(
            f"{target.service}: the target cannot apply what comes ({row['errors']} errors): its"
            " PostgreSQL log says why"
        )
    return int(row["left"])


async def vacuum(target: Database, tables: list[str]) -> None:
    """Let the target's planner know what has been copied, and count it in indexes alone."""
    for table in tables:
        await target.conn.execute(f"VACUUM (ANALYZE) {table}")


async def position(source: Database) -> str:
    """The end of the source's log, behind everything that is committed."""
    return str(await source.conn.fetchval("SELECT pg_current_wal_insert_lsn()::text"))


async def has_applied(source: Database, workspace_id: str, lsn: str) -> bool:
    """Whether the target has stored everything up to this position of the source's log."""
    return bool(
        await source.conn.fetchval(
            """SELECT confirmed_flush_lsn >= $2::text::pg_lsn FROM pg_replication_slots
                WHERE slot_name = $1""",
            name_of(source.service, workspace_id),
            lsn,
        )
    )


async def end(source: Database, target: Database, workspace_id: str) -> list[str]:
    """Remove subscription, slots and publication; the names of the slots that were there."""
    name = name_of(source.service, workspace_id)
    subscription = await target.conn.fetchval(
        "SELECT oid FROM pg_subscription WHERE subname = $1", name
    )
    slots = await _slots(source, name)
    if subscription is not None:
        # Those of tables whose copying has not ended.
        slots += await _slots(source, f"pg_{subscription}_sync_%")
        if await _is_subscribed(target, name):
            await target.conn.execute(f"ALTER SUBSCRIPTION {name} DISABLE")
            await target.conn.execute(f"ALTER SUBSCRIPTION {name} SET (slot_name = NONE)")
            await target.conn.execute(f"DROP SUBSCRIPTION {name}")
    for slot in slots:
        await _drop_slot(source, slot)
    await source.conn.execute(f"DROP PUBLICATION IF EXISTS {name}")
    return slots


async def _slots(source: Database, pattern: str) -> list[str]:
    rows = await source.conn.fetch(
        """SELECT slot_name::text FROM pg_replication_slots
            WHERE slot_name LIKE replace($1, '_', '\\_') AND database = current_database()""",
        pattern,
    )
    return [row["slot_name"] for row in rows]


async def _is_subscribed(target: Database, name: str) -> bool:
    return bool(
        await target.conn.fetchval(
            """SELECT EXISTS (SELECT FROM pg_subscription
                               WHERE subname = $1
                                 AND subdbid = (SELECT oid FROM pg_database
                                                 WHERE datname = current_database()))""",
            name,
        )
    )


async def _drop_slot(source: Database, slot: str) -> None:
    for _ in range(int(SLOT_WAIT_S / LOOK_S)):
        try:
            await source.conn.execute("SELECT pg_drop_replication_slot($1)", slot)
        except asyncpg.UndefinedObjectError:
            return
        except asyncpg.ObjectInUseError:
            # Its receiver is about to end.
            await asyncio.sleep(LOOK_S)
        else:
            return
    raise Failed(
        f"{source.service}: the replication slot {slot} is in use and keeps the write-ahead log"
        f" of the source: end its receiver, then SELECT pg_drop_replication_slot('{slot}')"
    )

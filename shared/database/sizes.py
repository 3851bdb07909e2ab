"""Size limits per workspace and table: the number of objects, and their bytes.

Everything is counted at the end of the transaction. The row of `sizes`, which all changes of a
workspace share, is therefore the last lock that each of them takes, so there are no deadlocks.

A trigger counts every statement that changes the table (`DEFERRABLE INITIALLY DEFERRED`), and a
command that may let the workspace grow ends with `check`:

    run_sql(sizes.SCHEMA + sizes.counting("things", "octet_length({row}.body::text)", ("body",)))
    ...
    async with db.transaction() as conn:
        await store.insert(conn, thing)
        await sizes.check(conn, workspace_id, Bound("things", "thing", 1_000, 64 << 20))

On Citus there are no triggers. There each command that changes the table ends with `add` instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shared.database.connection import Conn
from shared.errors import LimitExceeded, counted

SCHEMA: Final = """
CREATE TABLE sizes (
    workspace_id text   NOT NULL,
    kind         text   NOT NULL,
    objects      bigint NOT NULL,
    bytes        bigint NOT NULL,
    PRIMARY KEY (workspace_id, kind)
);
"""
"""For a migration, before what `counting` makes. `kind` is the name of the table counted."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a workspace has in a table, or a change of that: negative where it shrinks."""

    objects: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Bound:
    """The limits of a workspace for one table; `called` is the name of one object in messages."""

    table: str
    called: str
    objects_max: int
    bytes_max: int | None = None
    """None where each object is small."""


def counting(table: str, size: str, columns: Sequence[str]) -> str:
    """SQL for a migration: count what the table has already, and whatever changes these columns.

    `size` is an expression of the bytes of `{row}`.
    """
    return f"""
        CREATE FUNCTION count_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            more_objects bigint := 0;
            more_bytes   bigint := 0;
        BEGIN
            IF TG_OP <> 'DELETE' THEN
                more_objects := 1;
                more_bytes := {size.format(row="NEW")};
            END IF;
            IF TG_OP <> 'INSERT' THEN
                more_objects := more_objects - 1;
                more_bytes := more_bytes - ({size.format(row="OLD")});
            END IF;
            INSERT INTO sizes AS known (workspace_id, kind, objects, bytes)
            VALUES (coalesce(NEW.workspace_id, OLD.workspace_id), '{table}',
                    more_objects, more_bytes)
                ON CONFLICT (workspace_id, kind)
                DO UPDATE SET objects = known.objects + excluded.objects,
                              bytes = known.bytes + excluded.bytes;
            RETURN NULL;
        END
        $$;
        CREATE CONSTRAINT TRIGGER count_{table}
            AFTER INSERT OR DELETE OR UPDATE OF {", ".join(columns)} ON {table}
            DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION count_{table}();
        INSERT INTO sizes (workspace_id, kind, objects, bytes)
        SELECT workspace_id, '{table}', count(*), sum({size.format(row=table)})
          FROM {table}
         GROUP BY workspace_id;
        """  # noqa: S608 - constants of a migration


async def check(conn: Conn, workspace_id: str, bound: Bound) -> None:
    """The last step of a transaction: raise `LimitExceeded` where it has grown beyond the bound.

    A workspace that has too much already, because the bound was lowered, may change and shrink.
    """
    before = await _locked(conn, workspace_id, bound.table)
    # From here to the end this transaction holds the row, and its own changes are counted.
    await conn.execute(f"SET CONSTRAINTS count_{bound.table} IMMEDIATE")
    after = await conn.fetchrow(
        "SELECT objects, bytes FROM sizes WHERE workspace_id = $1 AND kind = $2",
        workspace_id,
        bound.table,
    )
    assert after is not None
    _check(before, Size(**after), bound)


async def add(
    conn: Conn, workspace_id: str, table: str, growth: Size, bound: Bound | None = None
) -> None:
    """Count and check, for a table that may have no trigger: the last step of a transaction.

    `growth` is all that the transaction has changed. The sum is stored, and not the difference
    added: triggers that count for processes of the previous version may have counted already.
    """
    before = await _locked(conn, workspace_id, table)
    await conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
    after = Size(before.objects + growth.objects, before.bytes + growth.bytes)
    await conn.execute(
        "UPDATE sizes SET objects = $3, bytes = $4 WHERE workspace_id = $1 AND kind = $2",
        workspace_id,
        table,
        after.objects,
        after.bytes,
    )
    if bound is not None:
        _check(before, after, bound)


async def _locked(conn: Conn, workspace_id: str, table: str) -> Size:
    """The size before this transaction; nobody else changes it until commit."""
    row = await conn.fetchrow(
        """INSERT INTO sizes AS known (workspace_id, kind, objects, bytes)
           VALUES ($1, $2, 0, 0)
               ON CONFLICT (workspace_id, kind)
               DO UPDATE SET objects = known.objects
        RETURNING objects, bytes""",
        workspace_id,
        table,
    )
    assert row is not None
    return Size(**row)


def _check(before: Size, after: Size, bound: Bound) -> None:
    if after.objects > max(bound.objects_max, before.objects):
        raise LimitExceeded(
            f"This workspace may have at most {counted(bound.objects_max, bound.called)},"
            f" got {after.objects}"
        )
    if bound.bytes_max is not None and after.bytes > max(bound.bytes_max, before.bytes):
        raise LimitExceeded(
            f"The {bound.called}s of this workspace may have at most {bound.bytes_max} bytes,"
            f" got {after.bytes}"
        )

"""Prepares the history to become the first partition of a table by time.

The bound is a new year, more than a year away and after the last entry: what is written until the
next revision stays below it. On a database that Citus has distributed the table stays as it is.
"""

from alembic import op

from shared.database.migrations import outside_transaction, run_sql

revision = "0047"
down_revision = "0046"


def upgrade() -> None:
    if _is_distributed():
        return
    with outside_transaction():
        run_sql(
            """
            DO $$
            DECLARE
                last timestamptz;
                bound timestamptz;
            BEGIN
                SELECT greatest(now(), max(entry.at)) INTO last
                  FROM models m
                 CROSS JOIN LATERAL (
                       SELECT a.at FROM audit a
                        WHERE a.workspace_id = m.workspace_id
                        ORDER BY a.at DESC, a.version DESC NULLS LAST, a.id DESC
                        LIMIT 1
                 ) entry;
                bound := (date_trunc('year', last AT TIME ZONE 'UTC') + interval '2 years')
                         AT TIME ZONE 'UTC';
                ALTER TABLE audit DROP CONSTRAINT IF EXISTS audit_first_until;
                EXECUTE format(
                    'ALTER TABLE audit ADD CONSTRAINT audit_first_until CHECK (at < %L) NOT VALID',
                    bound
                );
            END
            $$
            """
        )
        # Reads the whole table, and keeps nobody from writing.
        run_sql("ALTER TABLE audit VALIDATE CONSTRAINT audit_first_until")
        # Pages skip what comes before them in this index; the time leads to the partition.
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS audit_first_of_record")
        run_sql(
            """
            CREATE INDEX CONCURRENTLY audit_first_of_record
                ON audit (workspace_id, record_id, version NULLS FIRST, id) INCLUDE (at)
            """
        )
        # An index whose build failed is there, but invalid.
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS audit_first_by_id")
        run_sql(
            """
            CREATE UNIQUE INDEX CONCURRENTLY audit_first_by_id ON audit (workspace_id, id, at)
            """
        )


def _is_distributed() -> bool:
    read = op.get_bind().exec_driver_sql
    if read("SELECT to_regclass('pg_dist_partition')").scalar() is None:
        return False
    found = read("SELECT 1 FROM pg_dist_partition WHERE logicalrelid = 'audit'::regclass")
    return found.scalar() is not None

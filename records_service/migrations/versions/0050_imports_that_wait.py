"""The oldest imports of a workspace that wait for their first turn are found by an index."""

from shared.database.migrations import outside_transaction, run_sql

revision = "0050"
down_revision = "0049"


def upgrade() -> None:
    with outside_transaction():
        # An index whose build failed is there, but invalid.
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS imports_waiting")
        run_sql(
            """
            CREATE INDEX CONCURRENTLY imports_waiting
                ON imports (workspace_id, created_at, id)
             WHERE status = 'queued'
            """
        )

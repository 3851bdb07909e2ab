"""Lists records by the time of their last change; statistics on columns that depend on each other.

A schema is one workspace's, and a state is one workflow's. Without these statistics PostgreSQL
multiplies their shares, and its estimate of a total is far too low.
"""

from shared.database.migrations import outside_transaction, run_sql

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    with outside_transaction():
        # An index whose build failed is there, but invalid.
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS records_by_update")
        run_sql(
            """
            CREATE INDEX CONCURRENTLY records_by_update
                ON records (workspace_id, updated_at, id) INCLUDE (schema_id, state_id)
            """
        )
        run_sql(
            """
            CREATE STATISTICS IF NOT EXISTS records_together (dependencies, mcv)
                ON workspace_id, schema_id, state_id FROM records
            """
        )
        run_sql(
            """
            CREATE STATISTICS IF NOT EXISTS audit_together (dependencies, mcv)
                ON workspace_id, user_id, action FROM audit
            """
        )

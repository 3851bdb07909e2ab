"""Lists the history in the order of versions.

The history from before has none. It comes before all that has, in the order of its ids: one
PostgreSQL drew them.
"""

from shared.database.migrations import outside_transaction, run_sql

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    with outside_transaction():
        # Not with the outbox in one transaction: a write locks the history first, so each would
        # wait for the other.
        run_sql("ALTER TABLE audit ADD COLUMN IF NOT EXISTS version bigint")
        # An index whose build failed is there, but invalid.
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS audit_of_record_by_version")
        run_sql(
            """
            CREATE INDEX CONCURRENTLY audit_of_record_by_version
                ON audit (workspace_id, record_id, version NULLS FIRST, id)
            """
        )
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS audit_in_order")
        run_sql(
            """
            CREATE INDEX CONCURRENTLY audit_in_order
                ON audit (workspace_id, at, version NULLS FIRST, id)
            """
        )
        # Code of the version before lists the history of one record without it, only slower.
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS audit_of_record")

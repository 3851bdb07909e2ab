"""Records in a state are counted by schema without reading them."""

from shared.database.migrations import outside_transaction, run_sql

revision = "0042"
down_revision = "0041"


def upgrade() -> None:
    with outside_transaction():
        # The new one is there before the old one goes. One whose build failed is invalid.
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS records_in_state")
        run_sql(
            """
            CREATE INDEX CONCURRENTLY records_in_state
                ON records (workspace_id, state_id, created_at, id) INCLUDE (schema_id)
            """
        )
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS records_by_state")

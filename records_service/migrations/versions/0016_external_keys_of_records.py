"""One record for each external key."""

from shared.database.migrations import outside_transaction, run_sql

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    with outside_transaction():
        run_sql("ALTER TABLE records ADD COLUMN IF NOT EXISTS external_key text")
        # An index whose build failed is there, but invalid.
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS records_external_key_taken")
        run_sql(
            """
            CREATE UNIQUE INDEX CONCURRENTLY records_external_key_taken
                ON records (workspace_id, external_key)
             WHERE external_key IS NOT NULL
            """
        )

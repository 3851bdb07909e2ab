"""What the values of records will be after a conversion, and which of them have such values."""

from shared.database.migrations import outside_transaction, run_sql

revision = "0045"
down_revision = "0044"


def upgrade() -> None:
    run_sql("ALTER TABLE records ADD COLUMN converted jsonb")
    with outside_transaction():
        run_sql(
            """
            CREATE INDEX CONCURRENTLY IF NOT EXISTS records_converted
                ON records (workspace_id, id)
             WHERE converted IS NOT NULL
            """
        )

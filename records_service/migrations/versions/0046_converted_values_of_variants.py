"""What the values of variants will be after a conversion, and which of them have such values."""

from shared.database.migrations import outside_transaction, run_sql

revision = "0046"
down_revision = "0045"


def upgrade() -> None:
    run_sql("ALTER TABLE variants ADD COLUMN converted jsonb")
    with outside_transaction():
        run_sql(
            """
            CREATE INDEX CONCURRENTLY IF NOT EXISTS variants_converted
                ON variants (workspace_id, id)
             WHERE converted IS NOT NULL
            """
        )

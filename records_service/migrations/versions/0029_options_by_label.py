"""Options are found by their label."""

from shared.database.migrations import outside_transaction, run_sql

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    with outside_transaction():
        # An index whose build failed is there, but invalid.
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS option_values_by_label")
        run_sql(
            """
            CREATE INDEX CONCURRENTLY option_values_by_label
                ON option_values (workspace_id, list_id, label)
            """
        )

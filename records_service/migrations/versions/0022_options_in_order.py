"""Options are read in the order of their list, page by page."""

from shared.database.migrations import outside_transaction, run_sql

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    with outside_transaction():
        # An index whose build failed is there, but invalid.
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS option_values_in_order")
        run_sql(
            """
            CREATE INDEX CONCURRENTLY option_values_in_order
                ON option_values (workspace_id, list_id, sort_order, label, id)
            """
        )

"""Options are found by a part of a name. Those without parts were written by the version before."""

from shared.database.migrations import outside_transaction, run_sql

revision = "0036"
down_revision = "0035"


def upgrade() -> None:
    run_sql("ALTER TABLE option_values ADD COLUMN grams integer[]")
    with outside_transaction():
        # An index whose build failed is there, but invalid. Without a list of what is pending, to
        # write 10,000 options would take three times as long; each search reads that list.
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS option_values_by_gram")
        run_sql(
            """
            CREATE INDEX CONCURRENTLY option_values_by_gram
                ON option_values USING gin (grams) WITH (gin_pending_list_limit = 1024)
            """
        )
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS option_values_without_grams")
        run_sql(
            """
            CREATE INDEX CONCURRENTLY option_values_without_grams
                ON option_values (workspace_id, list_id) WHERE grams IS NULL
            """
        )

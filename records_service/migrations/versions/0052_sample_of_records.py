"""A sample of all records in the search index is found without reading the others."""

from shared.database.migrations import outside_transaction, run_sql

revision = "0052"
down_revision = "0051"


def upgrade() -> None:
    with outside_transaction():
        # An index whose build failed is there, but invalid.
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS search_records_sampled")
        run_sql(
            """
            CREATE INDEX CONCURRENTLY search_records_sampled
                ON search_records (workspace_id, created_at, record_id)
           INCLUDE (schema_id, state_id)
             WHERE bucket = 0
            """
        )

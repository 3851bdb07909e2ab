"""A sample of the numbers of the search index is found without reading the others."""

from shared.database.migrations import outside_transaction, run_sql

revision = "0040"
down_revision = "0039"


def upgrade() -> None:
    with outside_transaction():
        # An index whose build failed is there, but invalid.
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS search_numbers_sampled")
        run_sql(
            """
            CREATE INDEX CONCURRENTLY search_numbers_sampled
                ON search_numbers (workspace_id, attribute_key, number, created_at, record_id)
           INCLUDE (schema_id, state_id, entry)
             WHERE bucket = 0
            """
        )

"""Jobs of one attribute or schema, and those that are in one state, are found by an index."""

from shared.database.migrations import outside_transaction, run_sql

revision = "0043"
down_revision = "0042"


def upgrade() -> None:
    with outside_transaction():
        # An index whose build failed is there, but invalid.
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS followed_jobs_of_subject")
        run_sql(
            """
            CREATE INDEX CONCURRENTLY followed_jobs_of_subject
                ON followed_jobs (workspace_id, subject_id, created_at, id)
            """
        )
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS followed_jobs_by_status")
        run_sql(
            """
            CREATE INDEX CONCURRENTLY followed_jobs_by_status
                ON followed_jobs (workspace_id, status, created_at, id)
            """
        )

"""Finds rare actions and rare users in the history by index."""

from shared.database.migrations import outside_transaction, run_sql

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    with outside_transaction():
        # An index whose build failed is there, but invalid.
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS audit_of_rare_actions")
        run_sql(
            """
            CREATE INDEX CONCURRENTLY audit_of_rare_actions
                ON audit (workspace_id, action, at, version NULLS FIRST, id)
             WHERE action IN ('delete', 'transition')
            """
        )
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS audit_by_user")
        run_sql(
            """
            CREATE INDEX CONCURRENTLY audit_by_user
                ON audit USING brin (workspace_id text_bloom_ops, user_id text_bloom_ops)
              WITH (pages_per_range = 32, autosummarize = on)
            """
        )

"""One workflow for each external key."""

from shared.database.migrations import outside_transaction, run_sql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    with outside_transaction():
        # An index whose build failed is there, but invalid.
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS workflows_external_key_taken")
        run_sql(
            """
            CREATE UNIQUE INDEX CONCURRENTLY workflows_external_key_taken
                ON workflows (workspace_id, (body ->> 'externalKey'))
             WHERE body ->> 'externalKey' IS NOT NULL
            """
        )

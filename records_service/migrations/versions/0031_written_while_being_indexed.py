"""Records that were written while their schema is being entered into the search index."""

from shared.database.migrations import run_sql

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    run_sql(
        """
        CREATE TABLE search_written (
            workspace_id text        NOT NULL,
            schema_id    text        NOT NULL,
            created_at   timestamptz NOT NULL,
            record_id    text        NOT NULL,
            PRIMARY KEY (workspace_id, schema_id, created_at, record_id)
        )
        """
    )

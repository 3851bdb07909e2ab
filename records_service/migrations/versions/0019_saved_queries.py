"""Saved queries."""

from shared.database.migrations import run_sql

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    run_sql(
        """
        CREATE TABLE saved_queries (
            workspace_id text        NOT NULL,
            id           text        NOT NULL,
            name         text        NOT NULL,
            description  text,
            query        jsonb       NOT NULL,
            created_by   text        NOT NULL,
            created_at   timestamptz NOT NULL,
            PRIMARY KEY (workspace_id, id)
        )
        """
    )

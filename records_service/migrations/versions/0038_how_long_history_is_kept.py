"""How long each workspace keeps its history; without a row for ever."""

from shared.database.migrations import run_sql

revision = "0038"
down_revision = "0037"


def upgrade() -> None:
    run_sql(
        """
        CREATE TABLE history_retentions (
            workspace_id text        NOT NULL,
            days         integer,
            updated_at   timestamptz NOT NULL,
            updated_by   text        NOT NULL,
            due_at       timestamptz NOT NULL,
            PRIMARY KEY (workspace_id),
            CONSTRAINT days_are_kept CHECK (days > 0)
        )
        """
    )

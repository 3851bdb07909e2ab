"""Schemas whose records are being moved to the states of another workflow."""

from shared.database.migrations import run_sql

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    run_sql(
        """
        CREATE TABLE state_moves (
            workspace_id     text NOT NULL,
            schema_id        text NOT NULL,
            moves            jsonb NOT NULL,
            user_id          text NOT NULL,
            after_created_at timestamptz,
            after_id         text,
            is_done          boolean NOT NULL DEFAULT false,
            requested_at     timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (workspace_id, schema_id)
        )
        """
    )

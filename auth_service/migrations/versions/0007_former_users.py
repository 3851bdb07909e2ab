"""Ids of users that were deleted: nobody else gets one, since the history names them."""

from shared.database.migrations import run_sql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run_sql(
        """
        CREATE TABLE former_users (
            workspace_id text NOT NULL,
            id           text NOT NULL,
            deleted_at   timestamptz NOT NULL,
            PRIMARY KEY (workspace_id, id)
        );
        """
    )

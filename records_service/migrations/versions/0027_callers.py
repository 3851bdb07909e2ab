"""What became of users and API keys whose background jobs may still be running."""

from shared.database.migrations import run_sql

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    run_sql(
        """
        CREATE TABLE callers (
            workspace_id text    NOT NULL,
            kind         text    NOT NULL,
            id           text    NOT NULL,
            version      bigint  NOT NULL,
            active       boolean NOT NULL,
            role_id      text,
            PRIMARY KEY (workspace_id, kind, id)
        )
        """
    )

"""Which aliases attributes and schemas had: what is denied by an alias stays so after a rename."""

from shared.database.migrations import run_sql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run_sql(
        """
        -- Outlives the part: one that is made again under a deleted one's id has its history.
        CREATE TABLE former_aliases (
            workspace_id text NOT NULL,
            kind         text NOT NULL,
            id           text NOT NULL,
            alias        text NOT NULL,
            PRIMARY KEY (workspace_id, kind, id, alias)
        );
        """
    )

"""Which change sets were applied, and which of them an entry of the history belongs to.

The setting stands for the transaction that applies one: the statements that write the history need
not know of it, and code of the version before writes none.
"""

from shared.database.migrations import run_sql

revision = "0059"
down_revision = "0058"


def upgrade() -> None:
    run_sql(
        """
        CREATE TABLE applied_change_sets (
            workspace_id  text        NOT NULL,
            change_set_id text        NOT NULL,
            attempt       integer     NOT NULL,
            user_id       text        NOT NULL,
            results       jsonb,
            at            timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (workspace_id, change_set_id, attempt)
        )
        """
    )
    run_sql(
        "ALTER TABLE audit ADD COLUMN change_set_id text"
        " DEFAULT nullif(current_setting('sigma.change_set', true), '')"
    )

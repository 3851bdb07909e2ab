"""Since when states are retired: a revision may die before it takes them back itself.

What is retired already counts from this step on.
"""

from shared.database.migrations import run_sql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run_sql(
        """
        ALTER TABLE lifecycles
            ADD COLUMN retired_checked_at timestamptz NOT NULL DEFAULT now();
        CREATE INDEX lifecycles_retired ON lifecycles (retired_checked_at) WHERE retired <> '{}';
        """
    )

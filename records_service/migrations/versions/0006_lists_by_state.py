"""Lists by lifecycle state find their records in order: a rare one was looked for in all rows."""

from shared.database.migrations import run_sql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run_sql("CREATE INDEX records_by_state ON records (workspace_id, state_id, created_at, id)")

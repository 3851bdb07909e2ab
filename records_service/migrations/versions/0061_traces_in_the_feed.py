"""Of an event whose document the feed does not have, it keeps the trace of its cause."""

from shared.database.migrations import run_sql

revision = "0061"
down_revision = "0060"


def upgrade() -> None:
    run_sql("ALTER TABLE feed ADD COLUMN traceparent text")

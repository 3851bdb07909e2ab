"""Imports keep the trace of the request that sent their file."""

from shared.database.migrations import run_sql

revision = "0065"
down_revision = "0064"


def upgrade() -> None:
    run_sql("ALTER TABLE imports ADD COLUMN traceparent text")

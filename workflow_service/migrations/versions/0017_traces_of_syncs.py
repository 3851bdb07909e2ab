"""Synchronisations keep the trace of the request that started them."""

from shared.database.migrations import run_sql

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    run_sql("ALTER TABLE sync_runs ADD COLUMN traceparent text")

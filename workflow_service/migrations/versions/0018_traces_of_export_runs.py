"""Runs of export jobs keep the trace of the request that started them."""

from shared.database.migrations import run_sql

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    run_sql("ALTER TABLE export_runs ADD COLUMN traceparent text")

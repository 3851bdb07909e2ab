"""Deliveries of webhooks keep the trace of what caused their event."""

from shared.database.migrations import run_sql

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    run_sql("ALTER TABLE webhook_deliveries ADD COLUMN traceparent text")

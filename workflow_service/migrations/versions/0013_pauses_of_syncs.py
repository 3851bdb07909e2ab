"""Synchronisations count how often in a row their target has asked to wait."""

from shared.database.migrations import run_sql

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    run_sql("ALTER TABLE sync_runs ADD COLUMN pauses smallint NOT NULL DEFAULT 0")

"""Conversions are prepared in slices, and hold from one moment on, before they are stored."""

from shared.database.migrations import run_sql

revision = "0044"
down_revision = "0043"


def upgrade() -> None:
    run_sql("ALTER TABLE conversions ADD COLUMN complete_until bigint")
    run_sql("ALTER TABLE models ADD COLUMN settling text")

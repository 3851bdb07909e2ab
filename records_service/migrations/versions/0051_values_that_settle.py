"""Converted values hold from one moment on, before they are stored in the records."""

from shared.database.migrations import run_sql

revision = "0051"
down_revision = "0050"


def upgrade() -> None:
    run_sql("ALTER TABLE models ADD COLUMN settling text")

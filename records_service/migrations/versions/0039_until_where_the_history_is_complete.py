"""Up to which entry of the history a job that makes an attribute unique misses none."""

from shared.database.migrations import run_sql

revision = "0039"
down_revision = "0038"


def upgrade() -> None:
    run_sql("ALTER TABLE unique_checks ADD COLUMN complete_until bigint")

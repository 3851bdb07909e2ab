"""Up to which entry of the history a conversion that is prepared in slices misses none."""

from shared.database.migrations import run_sql

revision = "0044"
down_revision = "0043"


def upgrade() -> None:
    run_sql("ALTER TABLE conversions ADD COLUMN complete_until bigint")

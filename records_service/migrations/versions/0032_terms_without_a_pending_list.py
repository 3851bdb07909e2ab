"""The index of terms has no pending list: each search would read it, and one writer empty it."""

from shared.database.migrations import run_sql

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    run_sql("ALTER INDEX search_records_by_term SET (fastupdate = off)")

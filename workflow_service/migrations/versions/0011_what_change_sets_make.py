"""Operations of change sets know what those before them create."""

from shared.database.migrations import run_sql

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    run_sql("ALTER TABLE change_set_operations ADD COLUMN made text")

"""The database says where it lives, so that a restored one is told from the one that it was."""

from shared.database.incarnations import SCHEMA
from shared.database.migrations import run_sql

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    run_sql(SCHEMA)

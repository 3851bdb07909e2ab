"""Processes leave beats in the database, so that they notice when it was set back under them."""

from shared.database.incarnations import VERSIONS
from shared.database.migrations import run_sql

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    run_sql(VERSIONS[0])

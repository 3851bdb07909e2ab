"""Events in the order of versions; a sequence orders only where one node draws from it."""

from shared.database.migrations import run_sql
from shared.messaging import outbox

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    for statement in outbox.VERSIONS:
        run_sql(statement)

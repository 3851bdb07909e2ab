"""Events and history in the order of versions; a sequence orders only where one node draws from it.

The history from before has no versions. It comes before all that has, in the order of its ids: one
PostgreSQL drew them.
"""

from shared.database.migrations import run_sql
from shared.messaging import outbox

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    for statement in outbox.VERSIONS:
        run_sql(statement)
    run_sql("ALTER TABLE audit ADD COLUMN version bigint")

"""PostgreSQL counts what is in large tables after so many changes, however large they are.

By itself it does so when a tenth of a table has changed. Of a workspace that begins beside large
ones it knows nothing until then, expects one row of it, and reads all of its rows to find some
(docs/adr/0092).
"""

from shared.database.migrations import outside_transaction, run_sql

revision = "0060"
down_revision = "0059"

TABLES = (
    "category_assignments",
    "feed",
    "record_lives",
    "records",
    "search_numbers",
    "search_records",
    "search_scores",
    "search_sorts",
    "search_texts",
    "unique_values",
    "variants",
)


def upgrade() -> None:
    # One table at a time: a VACUUM of one is not waited for with the others locked.
    with outside_transaction():
        for table in TABLES:
            run_sql(
                f"ALTER TABLE {table} SET (autovacuum_analyze_scale_factor = 0,"
                " autovacuum_analyze_threshold = 10000)"
            )

"""Lists by kind, creator or parent are found by an index, in their order."""

from shared.database.migrations import outside_transaction, run_sql

revision = "0054"
down_revision = "0053"

INDEXES = {
    "followed_jobs_by_kind": "followed_jobs (workspace_id, kind, created_at, id)",
    "followed_jobs_by_creator": "followed_jobs (workspace_id, created_by, created_at, id)",
    "imports_by_creator": "imports (workspace_id, created_by, created_at, id)",
    "option_values_at_the_top": (
        "option_values (workspace_id, list_id, sort_order, label, id) WHERE parent_id IS NULL"
    ),
    "option_values_under": (
        "option_values (workspace_id, list_id, parent_id, sort_order, label, id)"
        " WHERE parent_id IS NOT NULL"
    ),
}


def upgrade() -> None:
    with outside_transaction():
        for name, columns in INDEXES.items():
            # An index whose build failed is there, but invalid.
            run_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            run_sql(f"CREATE INDEX CONCURRENTLY {name} ON {columns}")
        # `option_values_under` begins with the same columns.
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS option_values_below")

"""Which categories were deleted, while their assignments are still being removed.

They are in a catalog of their own that nobody sees. For code of the version before, that catalog is
there, under an alias that nobody can ask for.
"""

from shared.database.migrations import outside_transaction, run_sql

revision = "0066"
down_revision = "0065"


def upgrade() -> None:
    # One table at a time, and an index whose making holds no writer up.
    with outside_transaction():
        run_sql(
            """
            ALTER TABLE catalogs
              ADD COLUMN IF NOT EXISTS is_deleted boolean NOT NULL DEFAULT false
            """
        )
        run_sql(
            """
            ALTER TABLE categories
              ADD COLUMN IF NOT EXISTS is_deleted boolean NOT NULL DEFAULT false,
              ADD COLUMN IF NOT EXISTS emptied_up_to timestamptz NOT NULL DEFAULT '-infinity'
            """
        )
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS categories_deleted")
        run_sql(
            """
            CREATE INDEX CONCURRENTLY categories_deleted ON categories (workspace_id, id)
             WHERE is_deleted
            """
        )

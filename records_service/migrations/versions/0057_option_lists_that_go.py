"""Which option lists were deleted, while their options are still being removed.

For code of the version before, such a list is there, under an alias that nobody can ask for.
"""

from shared.database.migrations import run_sql

revision = "0057"
down_revision = "0056"


def upgrade() -> None:
    run_sql(
        """
        ALTER TABLE option_lists
          ADD COLUMN is_deleted boolean NOT NULL DEFAULT false,
          ADD COLUMN deleted_up_to text
        """
    )

"""Which notes of writes are about scores alone, so that their texts are not indexed again.

Code of the version before takes all of them for notes about everything, which is right, if slower.
"""

from shared.database.migrations import run_sql

revision = "0067"
down_revision = "0066"


def upgrade() -> None:
    run_sql(
        """
        ALTER TABLE search_texts_behind
          ADD COLUMN scores_only boolean NOT NULL DEFAULT false
        """
    )

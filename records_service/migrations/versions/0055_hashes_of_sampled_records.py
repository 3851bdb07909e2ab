"""Any part of a sample of the index of texts is found by the hashes of its records."""

from shared.database.migrations import outside_transaction, run_sql

revision = "0055"
down_revision = "0054"


def upgrade() -> None:
    with outside_transaction():
        # An index whose build failed is there, but invalid.
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS search_texts_by_hash")
        run_sql(
            """
            CREATE INDEX CONCURRENTLY search_texts_by_hash
                ON search_texts (workspace_id, level,
                                 (substr(md5(record_id), 3, 4) COLLATE "C"))
             WHERE level >= 1
            """
        )

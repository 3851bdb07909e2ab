"""Large values are compressed with LZ4: a write spent a tenth of its time in PGLZ.

A PostgreSQL that was built without LZ4 goes on as before. What is stored already stays as it is.
"""

from shared.database.migrations import run_sql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run_sql(
        """
        DO $$
        BEGIN
            ALTER TABLE records ALTER COLUMN values SET COMPRESSION lz4;
            ALTER TABLE audit ALTER COLUMN changes SET COMPRESSION lz4;
            ALTER TABLE outbox ALTER COLUMN document SET COMPRESSION lz4;
        EXCEPTION
            WHEN feature_not_supported THEN
                RAISE NOTICE 'PostgreSQL was built without LZ4';
        END
        $$;
        """
    )

"""Variants of records, below each other at any depth; only values that they override are stored.

A foreign key settles what a check could not: a variant that is created while its record or the
variant above it is deleted. Code of the version before knows no variants. While it runs, it cannot
delete a record that has some.
"""

from shared.database.migrations import outside_transaction, run_sql

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    run_sql(
        """
        CREATE TABLE variants (
            workspace_id text        NOT NULL,
            id           text        NOT NULL,
            record_id    text        NOT NULL,
            schema_id    text        NOT NULL,
            parent_id    text,
            path         text[]      NOT NULL,
            level        integer     NOT NULL,
            version      bigint      NOT NULL,
            values       jsonb       NOT NULL,
            created_at   timestamptz NOT NULL,
            updated_at   timestamptz NOT NULL,
            created_by   text        NOT NULL,
            updated_by   text        NOT NULL,
            CONSTRAINT variants_id_taken PRIMARY KEY (workspace_id, id),
            CONSTRAINT variants_have_a_record
                FOREIGN KEY (workspace_id, record_id) REFERENCES records (workspace_id, id),
            CONSTRAINT variants_have_a_parent
                FOREIGN KEY (workspace_id, parent_id) REFERENCES variants (workspace_id, id)
        )
        """
    )
    run_sql(
        """
        DO $$
        BEGIN
            ALTER TABLE variants ALTER COLUMN values SET COMPRESSION lz4;
        EXCEPTION
            WHEN feature_not_supported THEN
                RAISE NOTICE 'PostgreSQL was built without LZ4';
        END
        $$;
        """
    )
    run_sql("CREATE INDEX variants_of_record ON variants (workspace_id, record_id, created_at, id)")
    run_sql("CREATE INDEX variants_below ON variants (workspace_id, parent_id)")
    run_sql("CREATE INDEX variants_by_schema ON variants (workspace_id, schema_id, created_at, id)")
    run_sql("CREATE INDEX variants_in_order ON variants (workspace_id, created_at, id)")
    # As record_lives: the versions of an id go on counting when it is used again.
    run_sql(
        """
        CREATE TABLE variant_lives (
            workspace_id text   NOT NULL,
            variant_id   text   NOT NULL,
            last_version bigint NOT NULL,
            next_version bigint NOT NULL,
            PRIMARY KEY (workspace_id, variant_id),
            CONSTRAINT variant_goes_on_counting CHECK (next_version = last_version + 1)
        )
        """
    )
    with outside_transaction():
        # One after the other: a write locks several tables in an order of its own.
        run_sql("ALTER TABLE unique_values ADD COLUMN IF NOT EXISTS variant_id text")
        run_sql("ALTER TABLE audit ADD COLUMN IF NOT EXISTS variant_id text")
        # An index whose build failed is there, but invalid.
        run_sql("DROP INDEX CONCURRENTLY IF EXISTS audit_of_variant")
        run_sql(
            """
            CREATE INDEX CONCURRENTLY audit_of_variant
                ON audit (workspace_id, variant_id, at, version NULLS FIRST, id)
             WHERE variant_id IS NOT NULL
            """
        )

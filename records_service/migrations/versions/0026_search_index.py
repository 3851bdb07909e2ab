"""The search index: terms of each record in one row, its numbers and times in rows of their own."""

from shared.database.migrations import run_sql

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    # A state's change writes no index, so it stays on its page if there is room.
    run_sql(
        """
        CREATE TABLE search_records (
            workspace_id text        NOT NULL,
            created_at   timestamptz NOT NULL,
            record_id    text        NOT NULL,
            schema_id    text        NOT NULL,
            state_id     text,
            bucket       smallint    NOT NULL,
            terms        bigint[]    NOT NULL,
            PRIMARY KEY (workspace_id, created_at, record_id)
        ) WITH (fillfactor = 90)
        """
    )
    # Terms are hashes of the workspace, too: the index needs no other column.
    run_sql("CREATE INDEX search_records_by_term ON search_records USING gin (terms)")
    run_sql(
        """
        CREATE TABLE search_numbers (
            workspace_id  text        NOT NULL,
            created_at    timestamptz NOT NULL,
            record_id     text        NOT NULL,
            attribute_key bigint      NOT NULL,
            entry         integer     NOT NULL,
            number        float8      NOT NULL,
            schema_id     text        NOT NULL,
            state_id      text,
            bucket        smallint    NOT NULL,
            PRIMARY KEY (workspace_id, created_at, record_id, attribute_key, entry)
        )
        """
    )
    run_sql(
        """
        CREATE INDEX search_numbers_in_order
            ON search_numbers (workspace_id, attribute_key, number, created_at, record_id)
       INCLUDE (schema_id, state_id, bucket, entry)
        """
    )

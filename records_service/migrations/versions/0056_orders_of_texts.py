"""The orders of texts and of values in scopes, in which searches walk.

Code of the version before notes no change of a number, a time or a boolean, and its job stores no
rows. So in a database that is in use, the orders are made an hour later: a rolling upgrade has
ended by then.
"""

from shared.database.migrations import run_sql

revision = "0056"
down_revision = "0055"


def upgrade() -> None:
    run_sql(
        """
        DO $$
        BEGIN
            EXECUTE format(
                'ALTER TABLE search_layouts'
                ' ADD COLUMN are_sorted boolean NOT NULL DEFAULT false,'
                ' ADD COLUMN sorts_from timestamptz NOT NULL DEFAULT %L',
                CASE WHEN EXISTS (SELECT FROM models) THEN now() + interval '1 hour'
                     ELSE '-infinity'::timestamptz END);
        END
        $$;
        """
    )
    run_sql(
        """
        CREATE TABLE search_sorts (
            workspace_id text             NOT NULL,
            created_at   timestamptz      NOT NULL,
            record_id    text             NOT NULL,
            view         bigint           NOT NULL,
            schema_id    text             NOT NULL,
            state_id     text,
            bucket       smallint         NOT NULL,
            number       double precision NOT NULL,
            text         text COLLATE "C" NOT NULL,
            PRIMARY KEY (workspace_id, created_at, record_id, view)
        )
        """
    )
    run_sql(
        """
        CREATE INDEX search_sorts_in_order
            ON search_sorts (workspace_id, view, number, text, created_at, record_id)
            INCLUDE (schema_id, state_id, bucket)
        """
    )
    run_sql(
        """
        CREATE INDEX search_sorts_sampled
            ON search_sorts (workspace_id, view, number, text)
            INCLUDE (created_at, record_id, schema_id, state_id, bucket)
         WHERE bucket = 0
        """
    )
    run_sql(
        """
        CREATE TABLE search_sorted (
            workspace_id     text    NOT NULL,
            schema_id        text    NOT NULL,
            digest           text    NOT NULL,
            after_created_at timestamptz,
            after_id         text,
            is_done          boolean NOT NULL,
            PRIMARY KEY (workspace_id, schema_id)
        )
        """
    )

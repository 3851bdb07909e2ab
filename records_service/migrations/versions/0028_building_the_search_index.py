"""Which workspaces have a search index, which attributes it may be used for, what is being built.

Code of the version before writes records and no index. So in a database that is in use, workspaces
get their index an hour later: a rolling upgrade has ended by then. In a new one there is no such
code, and every workspace has its index from the beginning.
"""

from shared.database.migrations import run_sql

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    run_sql(
        """
        DO $$
        BEGIN
            IF EXISTS (SELECT FROM models) THEN
                EXECUTE format(
                    'ALTER TABLE models'
                    ' ADD COLUMN is_indexed boolean NOT NULL DEFAULT false,'
                    ' ADD COLUMN indexed_from timestamptz NOT NULL DEFAULT %L',
                    now() + interval '1 hour');
            ELSE
                ALTER TABLE models
                  ADD COLUMN is_indexed boolean NOT NULL DEFAULT true,
                  ADD COLUMN indexed_from timestamptz NOT NULL DEFAULT '-infinity';
            END IF;
        END
        $$;
        """
    )
    run_sql(
        """
        CREATE TABLE search_attributes (
            workspace_id text NOT NULL,
            attribute_id text NOT NULL,
            ready_at     timestamptz NOT NULL,
            PRIMARY KEY (workspace_id, attribute_id)
        )
        """
    )
    run_sql(
        """
        CREATE TABLE search_builds (
            workspace_id     text        NOT NULL,
            schema_id        text        NOT NULL,
            attribute_ids    text[]      NOT NULL,
            after_created_at timestamptz,
            after_id         text,
            is_done          boolean     NOT NULL DEFAULT false,
            requested_at     timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (workspace_id, schema_id)
        )
        """
    )

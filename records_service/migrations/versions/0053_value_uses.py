"""Marks of the attributes and segments that have values, so that nobody must search for these.

Code of the version before sets no marks. So in a database that is in use, older records get theirs
an hour later: a rolling upgrade has ended by then. In a new one there is no such code.
"""

from shared.database.migrations import run_sql

revision = "0053"
down_revision = "0052"


def upgrade() -> None:
    run_sql(
        """
        DO $$
        BEGIN
            IF EXISTS (SELECT FROM models) THEN
                EXECUTE format(
                    'ALTER TABLE models'
                    ' ADD COLUMN are_uses_known boolean NOT NULL DEFAULT false,'
                    ' ADD COLUMN uses_from timestamptz NOT NULL DEFAULT %L',
                    now() + interval '1 hour');
            ELSE
                ALTER TABLE models
                  ADD COLUMN are_uses_known boolean NOT NULL DEFAULT true,
                  ADD COLUMN uses_from timestamptz NOT NULL DEFAULT '-infinity';
            END IF;
        END
        $$;
        """
    )
    run_sql(
        """
        CREATE TABLE value_uses (
            workspace_id text        NOT NULL,
            attribute_id text        NOT NULL,
            dimension_id text        NOT NULL,
            segment_id   text        NOT NULL,
            in_variants  boolean     NOT NULL,
            id           bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
            holder_id    text        NOT NULL,
            since        timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (workspace_id, attribute_id, dimension_id, segment_id, in_variants, id)
        )
        """
    )
    run_sql(
        """
        CREATE TABLE value_use_walks (
            workspace_id     text    NOT NULL,
            schema_ids       text[]  NOT NULL,
            schemas_done     integer NOT NULL DEFAULT 0,
            after_created_at timestamptz,
            after_id         text,
            PRIMARY KEY (workspace_id)
        )
        """
    )

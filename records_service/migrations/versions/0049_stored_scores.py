"""The scores of completeness that searches compare, and by which rules those of a schema are.

Code of the version before notes no change of a score. So in a database that is in use, records are
scored an hour later: a rolling upgrade has ended by then.
"""

from shared.database.migrations import run_sql

revision = "0049"
down_revision = "0048"


def upgrade() -> None:
    run_sql(
        """
        DO $$
        BEGIN
            EXECUTE format(
                'ALTER TABLE search_layouts'
                ' ADD COLUMN are_scored boolean NOT NULL DEFAULT false,'
                ' ADD COLUMN scores_from timestamptz NOT NULL DEFAULT %L',
                CASE WHEN EXISTS (SELECT FROM models) THEN now() + interval '1 hour'
                     ELSE '-infinity'::timestamptz END);
        END
        $$;
        """
    )
    run_sql(
        """
        CREATE TABLE search_scores (
            workspace_id text        NOT NULL,
            created_at   timestamptz NOT NULL,
            record_id    text        NOT NULL,
            view         bigint      NOT NULL,
            schema_id    text        NOT NULL,
            state_id     text,
            bucket       smallint    NOT NULL,
            score        smallint    NOT NULL,
            PRIMARY KEY (workspace_id, created_at, record_id, view)
        )
        """
    )
    run_sql(
        """
        CREATE INDEX search_scores_in_order
            ON search_scores (workspace_id, view, score, created_at, record_id)
            INCLUDE (schema_id, state_id, bucket)
        """
    )
    run_sql(
        """
        CREATE TABLE search_scored (
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

"""Jobs that clients can follow, and attributes whose stored values are being made unique."""

from shared.database.migrations import run_sql

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    run_sql(
        """
        CREATE TABLE followed_jobs (
            workspace_id text        NOT NULL,
            id           text        NOT NULL,
            kind         text        NOT NULL,
            subject_id   text        NOT NULL,
            status       text        NOT NULL DEFAULT 'queued',
            total        bigint,
            created      bigint      NOT NULL DEFAULT 0,
            updated      bigint      NOT NULL DEFAULT 0,
            unchanged    bigint      NOT NULL DEFAULT 0,
            skipped      bigint      NOT NULL DEFAULT 0,
            failed       bigint      NOT NULL DEFAULT 0,
            samples      jsonb       NOT NULL DEFAULT '[]',
            error        text,
            created_at   timestamptz NOT NULL,
            started_at   timestamptz,
            completed_at timestamptz,
            created_by   text        NOT NULL,
            PRIMARY KEY (workspace_id, id)
        )
        """
    )
    run_sql(
        """
        CREATE UNIQUE INDEX followed_jobs_unfinished
            ON followed_jobs (workspace_id, kind, subject_id)
         WHERE completed_at IS NULL
        """
    )
    run_sql("CREATE INDEX followed_jobs_in_order ON followed_jobs (workspace_id, created_at, id)")
    run_sql(
        """
        CREATE TABLE unique_checks (
            workspace_id     text        NOT NULL,
            attribute_id     text        NOT NULL,
            phase            text        NOT NULL,
            schema_ids       text[]      NOT NULL,
            last_change      bigint      NOT NULL,
            schemas_done     integer     NOT NULL,
            after_created_at timestamptz,
            after_id         text,
            duplicates       bigint      NOT NULL DEFAULT 0,
            requested_at     timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (workspace_id, attribute_id)
        )
        """
    )

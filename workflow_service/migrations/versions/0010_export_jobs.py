"""Export jobs and their runs.

A run that is under way has a lease: the time until which the process that works on it is believed
to live. A run that waits for a process has one that has ended.
"""

from shared.database.migrations import run_sql

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    run_sql(
        """
        CREATE TABLE export_jobs (
            workspace_id text        NOT NULL,
            id           text        NOT NULL,
            body         jsonb       NOT NULL,
            sealed       text        NOT NULL,
            status       text        NOT NULL,
            created_by   text        NOT NULL,
            runs_as      text        NOT NULL,
            runs_as_kind text        NOT NULL,
            version      bigint      NOT NULL,
            created_at   timestamptz NOT NULL,
            updated_at   timestamptz NOT NULL,
            last_run_at  timestamptz,
            next_run_at  timestamptz,
            CONSTRAINT export_jobs_id_taken PRIMARY KEY (workspace_id, id)
        )
        """
    )
    run_sql(
        "CREATE INDEX export_jobs_by_due ON export_jobs (next_run_at) WHERE next_run_at IS NOT NULL"
    )
    run_sql(
        """
        CREATE TABLE export_runs (
            workspace_id        text        NOT NULL,
            job_id              text        NOT NULL,
            id                  text        NOT NULL,
            status              text        NOT NULL,
            started_at          timestamptz NOT NULL,
            completed_at        timestamptz,
            record_count        bigint,
            file_size           bigint,
            replaced_characters bigint,
            destination_path    text,
            error               text,
            attempt             integer     NOT NULL DEFAULT 0,
            worker              text,
            leased_until        timestamptz,
            CONSTRAINT export_runs_id_taken PRIMARY KEY (workspace_id, job_id, id),
            CONSTRAINT export_runs_of FOREIGN KEY (workspace_id, job_id)
                REFERENCES export_jobs (workspace_id, id) ON DELETE CASCADE
        )
        """
    )
    run_sql(
        "CREATE INDEX export_runs_in_order ON export_runs (workspace_id, job_id, started_at, id)"
    )
    run_sql(
        """
        CREATE UNIQUE INDEX export_runs_one_at_a_time
            ON export_runs (workspace_id, job_id) WHERE status = 'running'
        """
    )
    run_sql(
        """
        CREATE INDEX export_runs_by_lease ON export_runs (leased_until) WHERE status = 'running'
        """
    )

"""Channels, their synchronisations, and what is known about records at their targets."""

from shared.database.migrations import run_sql

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    run_sql(
        """
        CREATE TABLE channels (
            workspace_id text        NOT NULL,
            id           text        NOT NULL,
            alias        text        NOT NULL,
            type         text        NOT NULL,
            body         jsonb       NOT NULL,
            config       text        NOT NULL,
            key          bytea       NOT NULL,
            version      bigint      NOT NULL,
            created_at   timestamptz NOT NULL,
            updated_at   timestamptz NOT NULL,
            CONSTRAINT channels_id_taken PRIMARY KEY (workspace_id, id),
            CONSTRAINT channels_alias_taken UNIQUE (workspace_id, alias)
        )
        """
    )
    run_sql("CREATE INDEX channels_in_order ON channels (workspace_id, created_at, id)")
    run_sql(
        """
        CREATE TABLE sync_runs (
            workspace_id text        NOT NULL,
            channel_id   text        NOT NULL,
            id           text        NOT NULL,
            direction    text        NOT NULL,
            status       text        NOT NULL,
            caller_kind  text        NOT NULL,
            caller_id    text        NOT NULL,
            created_at   timestamptz NOT NULL,
            completed_at timestamptz,
            created      bigint      NOT NULL DEFAULT 0,
            updated      bigint      NOT NULL DEFAULT 0,
            skipped      bigint      NOT NULL DEFAULT 0,
            failed       bigint      NOT NULL DEFAULT 0,
            error        text,
            step         text        NOT NULL,
            place        jsonb,
            checkpoint   text,
            holder       text,
            due_at       timestamptz NOT NULL,
            CONSTRAINT sync_runs_pkey PRIMARY KEY (workspace_id, channel_id, id),
            CONSTRAINT sync_runs_of FOREIGN KEY (workspace_id, channel_id)
                REFERENCES channels (workspace_id, id) ON DELETE CASCADE
        )
        """
    )
    run_sql(
        """
        CREATE UNIQUE INDEX sync_runs_one_at_a_time ON sync_runs (workspace_id, channel_id)
         WHERE status = 'running'
        """
    )
    run_sql("CREATE INDEX sync_runs_due ON sync_runs (due_at) WHERE status = 'running'")
    run_sql(
        "CREATE INDEX sync_runs_in_order ON sync_runs (workspace_id, channel_id, created_at, id)"
    )
    run_sql(
        """
        CREATE TABLE sync_errors (
            workspace_id text   NOT NULL,
            channel_id   text   NOT NULL,
            run_id       text   NOT NULL,
            place        bigint NOT NULL,
            item         text   NOT NULL,
            entity_id    text,
            external_id  text,
            message      text   NOT NULL,
            detail       text,
            CONSTRAINT sync_errors_pkey PRIMARY KEY (workspace_id, channel_id, run_id, item),
            CONSTRAINT sync_errors_of FOREIGN KEY (workspace_id, channel_id, run_id)
                REFERENCES sync_runs (workspace_id, channel_id, id) ON DELETE CASCADE
        )
        """
    )
    run_sql(
        """
        CREATE INDEX sync_errors_in_order
            ON sync_errors (workspace_id, channel_id, run_id, place)
        """
    )
    run_sql(
        """
        CREATE TABLE sync_mappings (
            workspace_id   text        NOT NULL,
            channel_id     text        NOT NULL,
            id             text        NOT NULL,
            entity_id      text        NOT NULL,
            variant_id     text        NOT NULL DEFAULT '',
            external_id    text,
            attempt        text,
            sent           jsonb       NOT NULL DEFAULT '{}',
            seen           jsonb,
            checksum       text        NOT NULL DEFAULT '',
            last_mark      text,
            created_at     timestamptz NOT NULL,
            last_synced_at timestamptz,
            CONSTRAINT sync_mappings_pkey
                PRIMARY KEY (workspace_id, channel_id, entity_id, variant_id),
            CONSTRAINT sync_mappings_of FOREIGN KEY (workspace_id, channel_id)
                REFERENCES channels (workspace_id, id) ON DELETE CASCADE
        )
        """
    )
    run_sql(
        """
        CREATE UNIQUE INDEX sync_mappings_external_id_taken
            ON sync_mappings (workspace_id, channel_id, external_id) WHERE variant_id = ''
        """
    )
    run_sql(
        """
        CREATE INDEX sync_mappings_in_order
            ON sync_mappings (workspace_id, channel_id, created_at, id)
        """
    )
    run_sql(
        """
        CREATE INDEX sync_mappings_lost ON sync_mappings (workspace_id, channel_id, entity_id)
         WHERE attempt IS NOT NULL
        """
    )

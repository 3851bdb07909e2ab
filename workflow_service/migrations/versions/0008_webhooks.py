"""Webhooks, and their deliveries."""

from shared.database.migrations import run_sql

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    run_sql(
        """
        CREATE TABLE webhooks (
            workspace_id  text        NOT NULL,
            id            text        NOT NULL,
            name          text        NOT NULL,
            description   text,
            url           text        NOT NULL,
            events        text[]      NOT NULL,
            active        boolean     NOT NULL,
            paused_reason text,
            failing_since timestamptz,
            secret        text,
            former_secret text,
            former_until  timestamptz,
            position      bigint      NOT NULL,
            version       bigint      NOT NULL,
            created_at    timestamptz NOT NULL,
            updated_at    timestamptz NOT NULL,
            created_by    text        NOT NULL,
            runs_as       text        NOT NULL,
            runs_as_kind  text        NOT NULL,
            CONSTRAINT webhooks_id_taken PRIMARY KEY (workspace_id, id)
        )
        """
    )
    run_sql("CREATE INDEX webhooks_in_order ON webhooks (workspace_id, created_at, id)")
    run_sql(
        "CREATE INDEX webhooks_paused ON webhooks (workspace_id) WHERE paused_reason IS NOT NULL"
    )
    run_sql(
        """
        CREATE TABLE webhook_deliveries (
            workspace_id text        NOT NULL,
            id           text        NOT NULL,
            webhook_id   text        NOT NULL,
            number       bigint      GENERATED ALWAYS AS IDENTITY,
            event        text        NOT NULL,
            subject      text        NOT NULL,
            body         text        NOT NULL,
            status       text        NOT NULL,
            tries        integer     NOT NULL DEFAULT 0,
            due_at       timestamptz NOT NULL DEFAULT now(),
            attempts     jsonb       NOT NULL DEFAULT '[]',
            sent         jsonb,
            created_at   timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (workspace_id, id),
            CONSTRAINT webhook_deliveries_of FOREIGN KEY (workspace_id, webhook_id)
                REFERENCES webhooks (workspace_id, id) ON DELETE CASCADE
        )
        """
    )
    run_sql(
        "CREATE INDEX webhook_deliveries_in_order"
        " ON webhook_deliveries (workspace_id, webhook_id, number)"
    )
    run_sql(
        "CREATE INDEX webhook_deliveries_by_status"
        " ON webhook_deliveries (workspace_id, webhook_id, status, number)"
    )
    run_sql(
        "CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due_at)"
        " WHERE status = 'pending'"
    )

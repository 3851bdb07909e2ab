"""The events of a workspace in one order, which followers read and can read again."""

from shared.database.migrations import run_sql

revision = "0058"
down_revision = "0057"


def upgrade() -> None:
    run_sql(
        """
        CREATE TABLE feed (
            workspace_id text        NOT NULL,
            position     bigint      GENERATED ALWAYS AS IDENTITY,
            outbox_id    bigint      NOT NULL,
            type         text        NOT NULL,
            subject      text        NOT NULL,
            version      bigint      NOT NULL,
            event_id     text        NOT NULL,
            staged_at    timestamptz NOT NULL,
            placed_at    timestamptz NOT NULL DEFAULT now(),
            bytes        integer     NOT NULL,
            document     json        COMPRESSION lz4,
            PRIMARY KEY (workspace_id, position)
        )
        """
    )
    run_sql("CREATE UNIQUE INDEX feed_has_each_once ON feed (workspace_id, outbox_id)")
    run_sql(
        """
        CREATE TABLE feed_removed (
            workspace_id text   NOT NULL PRIMARY KEY,
            until        bigint NOT NULL
        )
        """
    )

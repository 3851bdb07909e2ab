"""Attributes whose values are being converted, and who has values of them."""

from shared.database.migrations import run_sql

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    run_sql(
        """
        CREATE TABLE conversions (
            workspace_id     text        NOT NULL,
            attribute_id     text        NOT NULL,
            user_id          text        NOT NULL,
            form             jsonb       NOT NULL,
            before           jsonb       NOT NULL,
            drops            boolean     NOT NULL,
            phase            text        NOT NULL,
            schema_ids       text[]      NOT NULL,
            last_change      bigint      NOT NULL,
            schemas_done     integer     NOT NULL,
            after_created_at timestamptz,
            after_id         text,
            requested_at     timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (workspace_id, attribute_id)
        )
        """
    )
    run_sql(
        """
        CREATE TABLE conversion_holders (
            workspace_id text NOT NULL,
            attribute_id text NOT NULL,
            kind         text NOT NULL,
            id           text NOT NULL,
            PRIMARY KEY (workspace_id, attribute_id, kind, id)
        )
        """
    )

"""Workflows, who refers to them, and the tables for events in both directions."""

from shared.database.migrations import run_sql
from shared.messaging import inbox, outbox

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_sql(
        """
        CREATE TABLE workflows (
            workspace_id text NOT NULL,
            id           text NOT NULL,
            alias        text NOT NULL,
            body         jsonb NOT NULL,
            version      bigint NOT NULL,
            created_at   timestamptz NOT NULL,
            updated_at   timestamptz NOT NULL,
            CONSTRAINT workflows_id_taken PRIMARY KEY (workspace_id, id),
            CONSTRAINT workflows_alias_taken UNIQUE (workspace_id, alias)
        );

        CREATE TABLE deleted_workflows (
            workspace_id text NOT NULL,
            id           text NOT NULL,
            version      bigint NOT NULL,
            PRIMARY KEY (workspace_id, id)
        );

        CREATE TABLE workflow_references (
            workspace_id      text NOT NULL,
            workflow_id       text NOT NULL,
            schema_id         text NOT NULL,
            pending           integer NOT NULL CHECK (pending >= 0),
            confirmed_version bigint,
            revision          bigint NOT NULL DEFAULT 1,
            checked_at        timestamptz NOT NULL,
            PRIMARY KEY (workspace_id, workflow_id, schema_id),
            CONSTRAINT workflow_is_referenced
                FOREIGN KEY (workspace_id, workflow_id) REFERENCES workflows (workspace_id, id)
        );
        CREATE INDEX workflow_references_of_schema ON workflow_references (workspace_id, schema_id);
        CREATE INDEX workflow_references_by_check ON workflow_references (checked_at);

        CREATE TABLE heard_schemas (
            workspace_id text NOT NULL,
            schema_id    text NOT NULL,
            version      bigint NOT NULL,
            PRIMARY KEY (workspace_id, schema_id)
        );
        """
    )
    run_sql(outbox.SCHEMA)
    run_sql(inbox.SCHEMA)

"""Which names in states' lists no attribute had when they were stored."""

from shared.database.migrations import run_sql
from shared.messaging import news

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run_sql(
        """
        -- `model_version`: of the workspace's model when the name was asked about.
        CREATE TABLE unknown_names (
            workspace_id  text NOT NULL,
            name          text NOT NULL,
            workflow_id   text NOT NULL,
            model_version bigint NOT NULL,
            PRIMARY KEY (workspace_id, name, workflow_id),
            FOREIGN KEY (workspace_id, workflow_id) REFERENCES workflows (workspace_id, id)
                ON DELETE CASCADE
        );
        CREATE INDEX unknown_names_of_workflow ON unknown_names (workspace_id, workflow_id);

        -- Nobody knows which of the names that are stored already are ids. An id among them does no
        -- harm: it is told apart when something gets it as its alias.
        INSERT INTO unknown_names (workspace_id, name, workflow_id, model_version)
        SELECT DISTINCT w.workspace_id, n.name, w.id, 0
          FROM workflows w
         CROSS JOIN LATERAL jsonb_array_elements(w.body -> 'states') AS s (state)
         CROSS JOIN LATERAL jsonb_array_elements_text(
                   coalesce(s.state -> 'hidden', '[]') || coalesce(s.state -> 'required', '[]')
                   || coalesce(s.state -> 'readOnly', '[]')) AS n (name);
        """
    )
    run_sql(news.SCHEMA)

"""Which names in roles nothing had when they were stored, and which events were handled."""

from shared.database.migrations import run_sql
from shared.messaging import inbox

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run_sql(
        """
        -- `model_version`: of the workspace's model when the name was asked about.
        CREATE TABLE unknown_names (
            workspace_id  text NOT NULL,
            kind          text NOT NULL CHECK (kind IN ('schema', 'attribute')),
            name          text NOT NULL,
            role_id       text NOT NULL,
            model_version bigint NOT NULL,
            PRIMARY KEY (workspace_id, kind, name, role_id),
            FOREIGN KEY (workspace_id, role_id) REFERENCES roles (workspace_id, id)
                ON DELETE CASCADE
        );
        CREATE INDEX unknown_names_of_role ON unknown_names (workspace_id, role_id);

        -- Nobody knows which of the names that are stored already are ids. An id among them does no
        -- harm: it is told apart when something gets it as its alias.
        INSERT INTO unknown_names (workspace_id, kind, name, role_id, model_version)
        SELECT DISTINCT r.workspace_id, 'schema', e.entry ->> 'schemaId', r.id, 0
          FROM roles r
         CROSS JOIN LATERAL jsonb_array_elements(r.schema_permissions) AS e (entry)
         WHERE e.entry ->> 'schemaId' <> '*'
         UNION
        SELECT DISTINCT r.workspace_id, 'attribute', k.name, r.id, 0
          FROM roles r
         CROSS JOIN LATERAL jsonb_array_elements(r.schema_permissions) AS e (entry)
         CROSS JOIN LATERAL jsonb_object_keys(e.entry -> 'attributePermissions') AS k (name)
         WHERE k.name <> '*';
        """
    )
    run_sql(inbox.SCHEMA)

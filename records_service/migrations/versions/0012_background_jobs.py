"""Background jobs, and the deleted attributes whose values are being removed from records.

No attribute is created under the id of one of these: it would get the old values. A trigger sees to
it, so that a process of the version before does it too.
"""

from shared.database.migrations import run_sql
from shared.messaging import jobs

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    run_sql(jobs.SCHEMA)
    run_sql(
        """
        CREATE TABLE attribute_removals (
            workspace_id     text NOT NULL,
            attribute_id     text NOT NULL,
            schema_ids       text[] NOT NULL,
            last_change      bigint NOT NULL,
            schemas_done     int NOT NULL DEFAULT 0,
            after_created_at timestamptz,
            after_id         text,
            requested_at     timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (workspace_id, attribute_id)
        );

        CREATE FUNCTION refuse_ids_with_values() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (SELECT FROM attribute_removals
                        WHERE workspace_id = NEW.workspace_id AND attribute_id = NEW.id) THEN
                RAISE unique_violation USING
                    MESSAGE = 'values of an attribute with this id are still being removed',
                    CONSTRAINT = 'attributes_id_taken';
            END IF;
            RETURN NEW;
        END
        $$;
        CREATE TRIGGER refuse_ids_with_values BEFORE INSERT ON attributes
            FOR EACH ROW EXECUTE FUNCTION refuse_ids_with_values();
        """
    )

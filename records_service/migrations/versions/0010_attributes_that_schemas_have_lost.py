"""Which attributes schemas have lost while they had records, whose values may still be there.

Triggers remember and forget, so that a process of the version before does it too. A pair that is
missing would be a gap in permissions and in the checks that look for values; one too many is none.
"""

from shared.database.migrations import run_sql

revision = "0010"
down_revision = "0009"

RECORDS_LOOKED_AT = 1_000


def upgrade() -> None:
    run_sql(
        f"""
        CREATE TABLE lost_attributes (
            workspace_id text NOT NULL,
            attribute_id text NOT NULL,
            schema_id    text NOT NULL,
            PRIMARY KEY (workspace_id, attribute_id, schema_id)
        );

        -- All that changes a schema holds the model lock, so no record is written meanwhile. A
        -- schema may have a million records: if the first ones do not tell, values are assumed.
        CREATE FUNCTION remember_lost_attributes() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            WITH gone AS (
                SELECT DISTINCT id #>> '{{}}' AS id
                  FROM jsonb_path_query(OLD.body, '$.attributeGroups[*].attributeIds[*]') AS id
                EXCEPT
                SELECT id #>> '{{}}'
                  FROM jsonb_path_query(NEW.body, '$.attributeGroups[*].attributeIds[*]') AS id
            ), first AS MATERIALIZED (
                SELECT r.values
                  FROM records r
                 WHERE r.workspace_id = OLD.workspace_id AND r.schema_id = OLD.id
                   AND EXISTS (SELECT FROM gone)
                 ORDER BY r.created_at, r.id
                 LIMIT {RECORDS_LOOKED_AT + 1}
            ), held AS MATERIALIZED (
                SELECT DISTINCT key AS id FROM first CROSS JOIN jsonb_object_keys(values) AS key
            )
            INSERT INTO lost_attributes (workspace_id, attribute_id, schema_id)
            SELECT OLD.workspace_id, gone.id, OLD.id
              FROM gone
             WHERE gone.id IN (SELECT id FROM held)
                OR (SELECT count(*) FROM first) > {RECORDS_LOOKED_AT}
                ON CONFLICT DO NOTHING;

            DELETE FROM lost_attributes l
             WHERE l.workspace_id = NEW.workspace_id AND l.schema_id = NEW.id
               AND l.attribute_id IN (
                   SELECT id #>> '{{}}'
                     FROM jsonb_path_query(NEW.body, '$.attributeGroups[*].attributeIds[*]') AS id);
            RETURN NULL;
        END
        $$;
        CREATE TRIGGER remember_lost_attributes AFTER UPDATE ON schemas
            FOR EACH ROW
            WHEN (OLD.body -> 'attributeGroups' IS DISTINCT FROM NEW.body -> 'attributeGroups')
            EXECUTE FUNCTION remember_lost_attributes();

        -- No record has a schema that is deleted, and an attribute takes its values along.
        CREATE FUNCTION forget_lost_attributes() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_TABLE_NAME = 'schemas' THEN
                DELETE FROM lost_attributes
                 WHERE workspace_id = OLD.workspace_id AND schema_id = OLD.id;
            ELSE
                DELETE FROM lost_attributes
                 WHERE workspace_id = OLD.workspace_id AND attribute_id = OLD.id;
            END IF;
            RETURN NULL;
        END
        $$;
        CREATE TRIGGER forget_lost_attributes AFTER DELETE ON schemas
            FOR EACH ROW EXECUTE FUNCTION forget_lost_attributes();
        CREATE TRIGGER forget_lost_attributes AFTER DELETE ON attributes
            FOR EACH ROW EXECUTE FUNCTION forget_lost_attributes();
        """
    )

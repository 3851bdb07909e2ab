"""Finds in the records what schemas have lost before it was remembered.

Reads all records once, and holds no lock meanwhile: the model may change while this runs. At the
end each pair is judged again by the schema and the attribute as they are then.
"""

from shared.database.migrations import outside_transaction, run_sql

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    # For the time limit: all records take as long as they take. The statement can be repeated.
    with outside_transaction():
        run_sql(
            """
            WITH held AS MATERIALIZED (
                SELECT DISTINCT r.workspace_id, r.schema_id, key AS attribute_id
                  FROM records r
                 CROSS JOIN LATERAL jsonb_object_keys(r.values) AS key
            ), lost AS (
                SELECT h.workspace_id, h.attribute_id, h.schema_id
                  FROM held h
                  JOIN schemas s ON s.workspace_id = h.workspace_id AND s.id = h.schema_id
                  JOIN attributes a ON a.workspace_id = h.workspace_id AND a.id = h.attribute_id
                 WHERE NOT jsonb_path_exists(s.body, '$.attributeGroups[*].attributeIds[*]
                                                      ? (@ == $id)',
                                             jsonb_build_object('id', h.attribute_id))
                   FOR SHARE OF s, a
            )
            INSERT INTO lost_attributes (workspace_id, attribute_id, schema_id)
            SELECT workspace_id, attribute_id, schema_id FROM lost
                ON CONFLICT DO NOTHING
            """
        )

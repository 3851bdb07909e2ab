"""How many objects and bytes the model of a workspace has, counted by whatever changes it.

Triggers count, one for each statement, so that no statement can forget to; the row that they write
is the one that every change of the model has locked already.
"""

from shared.database.migrations import run_sql

revision = "0008"
down_revision = "0007"

OBJECTS = ("dimensions", "option_lists", "attributes", "schemas")
OBJECT_BYTES = "octet_length(id) + octet_length(alias) + octet_length(body::text)"
VALUE_BYTES = """
    60 + octet_length(id) + octet_length(alias) + octet_length(label)
       + coalesce(octet_length(color), 0) + coalesce(octet_length(parent_id), 0)
"""
"""60 are the names of its members."""


def upgrade() -> None:
    run_sql(
        """
        ALTER TABLE models
            ADD COLUMN objects bigint NOT NULL DEFAULT 0,
            ADD COLUMN bytes   bigint NOT NULL DEFAULT 0;
        """
    )
    for table in OBJECTS:
        _count(table, objects=1, size=OBJECT_BYTES)
    _count("option_values", objects=0, size=VALUE_BYTES)
    union = " UNION ALL ".join(
        [
            *(
                f"SELECT workspace_id, 1 AS objects, {OBJECT_BYTES} AS bytes FROM {table}"
                for table in OBJECTS
            ),
            f"SELECT workspace_id, 0, {VALUE_BYTES} FROM option_values",
        ]
    )
    run_sql(
        f"""
        UPDATE models m SET objects = counted.objects, bytes = counted.bytes
          FROM (SELECT workspace_id, sum(objects) AS objects, sum(bytes) AS bytes
                  FROM ({union}) AS each
                 GROUP BY workspace_id) AS counted
         WHERE m.workspace_id = counted.workspace_id;
        """
    )


def _count(table: str, *, objects: int, size: str) -> None:
    came = f"SELECT workspace_id, {objects}, {size} FROM came"
    went = f"SELECT workspace_id, -{objects}, -({size}) FROM went"
    for event, referencing, rows in (
        ("INSERT", "NEW TABLE AS came", came),
        ("UPDATE", "OLD TABLE AS went NEW TABLE AS came", f"{came} UNION ALL {went}"),
        ("DELETE", "OLD TABLE AS went", went),
    ):
        run_sql(
            f"""
            CREATE FUNCTION count_{table}_{event.lower()}() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                UPDATE models m
                   SET objects = m.objects + counted.objects, bytes = m.bytes + counted.bytes
                  FROM (SELECT workspace_id, sum(objects) AS objects, sum(bytes) AS bytes
                          FROM ({rows}) AS each (workspace_id, objects, bytes)
                         GROUP BY workspace_id) AS counted
                 WHERE m.workspace_id = counted.workspace_id;
                RETURN NULL;
            END
            $$;
            CREATE TRIGGER count_{event.lower()} AFTER {event} ON {table}
                REFERENCING {referencing}
                FOR EACH STATEMENT EXECUTE FUNCTION count_{table}_{event.lower()}();
            """
        )

"""workflow_service on a restored database: what it has heard is doubted, what it has is told."""

from __future__ import annotations

from shared.database import Database, restored
from shared.events import Event
from tests.kit.service import Services


async def test_references_are_compared_and_workflows_told_again(services: Services):
    url = await services.database("workflow_service")
    db = Database(url)
    try:
        body = (
            '{"name": "Flow", "defaultStateId": "state-a", "transitions": [],'
            ' "states": [{"id": "state-a", "name": "A", "alias": "a"}]}'
        )
        await db.execute(
            f"""INSERT INTO workflows (workspace_id, id, alias, body, version, created_at,
                                       updated_at)
                SELECT 'ws-1', 'wf-' || n, 'flow-' || n, '{body}', 7, now(), now()
                  FROM generate_series(1, 45) AS n"""
        )
        await db.execute(
            """INSERT INTO workflow_references (workspace_id, workflow_id, schema_id, pending,
                                                checked_at)
               VALUES ('ws-1', 'wf-1', 'schema-x', 0, now())"""
        )
        await db.execute("INSERT INTO heard_schemas VALUES ('ws-1', 'schema-x', 9)")
        await db.execute(
            """INSERT INTO unknown_names (workspace_id, name, workflow_id, model_version)
               VALUES ('ws-1', 'price', 'wf-1', 9)"""
        )

        await restored.restored("workflow_service", url, lambda _: None)

        assert await db.fetchval("SELECT count(*) FROM heard_schemas") == 0
        assert await db.fetchval("SELECT max(model_version) FROM unknown_names") == 0
        assert await db.fetchval(
            "SELECT bool_and(checked_at < now() - interval '1 hour') FROM workflow_references"
        )
        rows = await db.fetch("SELECT document::text AS news FROM outbox")
        told = [Event.from_json(row["news"].encode()) for row in rows]
        assert {(one.type, one.version) for one in told} == {("workflow.updated", 7)}
        # Of all pages, each once.
        assert len({one.subject for one in told}) == len(told) == 45
        assert all(one.data["definition"]["id"] == one.subject for one in told)
    finally:
        await db.close()

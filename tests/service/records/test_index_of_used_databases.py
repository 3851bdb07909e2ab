"""A database that is in use gets its search index when the version before has been replaced."""

from __future__ import annotations

import psycopg
import pytest

from shared.database.migrations import upgrade
from tests.kit.servers import Servers

ANSWERED = """
    SELECT workspace_id, is_indexed,
           indexed_from BETWEEN now() + interval '50 minutes' AND now() + interval '1 hour'
      FROM models ORDER BY workspace_id
"""


@pytest.mark.parametrize("in_use", [True, False])
async def test_workspaces_are_indexed_from_the_beginning_unless_there_is_old_code(
    servers: Servers, in_use: bool
):
    url = await servers.postgres.empty_database("records_service")
    with psycopg.connect(url, autocommit=True) as conn:

        def before(said: str) -> None:
            if in_use and said.startswith("0028"):
                conn.execute("INSERT INTO models (workspace_id, version) VALUES ('ws-a', 1)")

        upgrade("records_service", url, before)
        conn.execute("INSERT INTO models (workspace_id, version) VALUES ('ws-b', 1)")
        found = conn.execute(ANSWERED).fetchall()
    await servers.postgres.drop_database(url)
    later = [("ws-a", False, True), ("ws-b", False, True)]
    assert found == (later if in_use else [("ws-b", True, False)])

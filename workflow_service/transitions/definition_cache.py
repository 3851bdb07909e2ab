"""Cache of parsed workflows, so that a decision does not parse them again.

A workflow at one version never changes, and an id that is used again goes on counting versions: so
nothing here can be out of date as long as the version is asked for.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from aiohttp import web

from shared.database import DATABASE, REQUEST_TRANSACTION
from shared.process.offload import OFFLOAD
from shared.process.sized_cache import SizedCache
from workflow_service.definitions.model import Workflow
from workflow_service.workflows import store

REMEMBERED_MAX: Final = 1_000
REMEMBERED_BYTES_MAX: Final = 16 << 20
"""Of the JSON; in memory a workflow takes several times as much."""
_INLINE_BYTES_MAX: Final = 32 << 10


class _Parsed(NamedTuple):
    workflow: Workflow
    bytes: int


class Definitions:
    """The workflows of this process, newest version of each; the least recently used go first."""

    def __init__(
        self, bytes_max: int = REMEMBERED_BYTES_MAX, count_max: int = REMEMBERED_MAX
    ) -> None:
        self._known = SizedCache[tuple[str, str], _Parsed](
            bytes_max, count_max, lambda parsed: parsed.bytes
        )

    async def current(self, app: web.Application, workspace_id: str, workflow_id: str) -> Workflow:
        """The workflow as it is now, or `NotFound`. One statement, which reads only what is new."""
        key = (workspace_id, workflow_id)
        known = self._known.get(key)
        async with app[DATABASE].acquire() as conn:
            row = await store.get_unless_known(
                conn, workspace_id, workflow_id, known.workflow.version if known else 0
            )
        if row["body"] is None:
            assert known is not None
            return known.workflow
        size = len(row["body"])
        if size <= _INLINE_BYTES_MAX:
            workflow = store.parsed(row)
        else:
            workflow = await app[OFFLOAD].run(workspace_id, store.parsed, row)
        if REQUEST_TRANSACTION.get() is None:
            # What is read in a request's transaction may yet be rolled back.
            self._known.keep(key, _Parsed(workflow, size))
        return workflow


DEFINITIONS: Final = web.AppKey("definitions", Definitions)

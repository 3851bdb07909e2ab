"""Cache of parsed workflows, so that a decision does not parse them again.

A workflow at one version never changes, and an id that is used again goes on counting versions: so
nothing here can be out of date as long as the version is asked for.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from aiohttp import web

from shared.database import DATABASE
from shared.process.offload import OFFLOAD
from workflow_service.definitions.model import Workflow
from workflow_service.workflows import store

REMEMBERED_MAX: Final = 1_000
REMEMBERED_BYTES_MAX: Final = 16 << 20
"""Of the JSON; in memory a workflow takes several times as much."""
_INLINE_BYTES_MAX: Final = 32 << 10


class Definitions:
    """The workflows of this process, newest version of each; the least recently used go first."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], tuple[Workflow, int]] = OrderedDict()
        self._bytes = 0

    async def current(self, app: web.Application, workspace_id: str, workflow_id: str) -> Workflow:
        """The workflow as it is now, or `NotFound`. One statement, which reads only what is new."""
        key = (workspace_id, workflow_id)
        known = self._known.get(key)
        async with app[DATABASE].acquire() as conn:
            row = await store.get_unless_known(
                conn, workspace_id, workflow_id, known[0].version if known else 0
            )
        if row["body"] is None:
            assert known is not None
            if key in self._known:
                self._known.move_to_end(key)
            return known[0]
        size = len(row["body"])
        if size <= _INLINE_BYTES_MAX:
            workflow = store.parsed(row)
        else:
            workflow = await app[OFFLOAD].run(workspace_id, store.parsed, row)
        self._remember(key, workflow, size)
        return workflow

    def _remember(self, key: tuple[str, str], workflow: Workflow, size: int) -> None:
        _, forgotten = self._known.pop(key, (None, 0))
        self._known[key] = (workflow, size)
        self._bytes += size - forgotten
        while len(self._known) > REMEMBERED_MAX or self._bytes > REMEMBERED_BYTES_MAX:
            _, (_, size) = self._known.popitem(last=False)
            self._bytes -= size


DEFINITIONS: Final = web.AppKey("definitions", Definitions)

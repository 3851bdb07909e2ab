from __future__ import annotations

import threading

from aiohttp import web

from records_service.context import BaseContext
from shared.http import Call
from shared.process.offload import OFFLOAD, Offload
from tests.kit import identities


async def test_only_work_on_large_values_leaves_the_loop():
    def thread() -> str:
        return threading.current_thread().name

    app = web.Application()
    app[OFFLOAD] = Offload()
    context = BaseContext(app, Call("req-1", "/records"), identities.admin())
    assert await context.run(False, thread) == threading.current_thread().name
    assert (await context.run(True, thread)).startswith("offload")

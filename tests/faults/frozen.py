"""A worker that freezes beyond its leases, and wakes when another one has its work."""

from __future__ import annotations

import asyncio
from typing import Final

from tests.faults.experiments import Form
from tests.faults.exports import exporting
from tests.faults.history import Recovery
from tests.faults.outside import Stored
from tests.faults.scene import Limits, Scene
from tests.faults.syncs import custom
from tests.kit.eventually import eventually
from tests.kit.rest_target import RestTarget
from tests.kit.stack import WORKFLOW

TAKEN_OVER: Final = Limits(writes_s=10, events_s=60)
ENDED_WITHIN_S: Final = 90.0
"""From the moment at which the worker freezes: its leases last 30 seconds."""
ANSWERED_AFTER_S: Final = 0.15
"""A push has to last until the export is on its way."""
AWAKE_S: Final = 5.0
"""Long enough for whatever the woken one has in its memory."""


async def freeze_the_worker(scene: Scene, form: Form) -> None:
    """SIGSTOP of the process that sends to webhooks, exports and synchronises, in all three.

    Another one takes all of it over when the leases have ended. Then the first one wakes, and later
    has to do the work again, because the second one is killed.
    """
    loop = asyncio.get_running_loop()
    async with (
        exporting(scene, form.rows // 2) as export,
        RestTarget(keeps_keys=False).serve() as target,
    ):
        stored = Stored(scene, "synced")
        await stored.create(form.rows // 50)
        channel = await custom(scene, stored, target, ANSWERED_AFTER_S)
        worker = await scene.stack.apart(WORKFLOW)
        for number in range(2):
            if number:
                await stored.change(2)
            had = target.counts.total()
            starting = await channel.begin()
            await eventually(lambda had=had: target.counts.total() >= had + 10, 30)
            await export.begin()
            worker.pause()
            began = loop.time()
            if (await channel.logs())[0]["status"] != "running":
                scene.found.unfinished.append("the worker was frozen when its push had ended")
            try:
                other = await scene.stack.another(WORKFLOW, role="worker")
                await scene.recovered("worker frozen", TAKEN_OVER)
                await export.ended(2 * ENDED_WITHIN_S)
                await channel.ended(2 * ENDED_WITHIN_S)
            finally:
                worker.resume()
            took = Recovery("worker frozen: all done", loop.time() - began, ENDED_WITHIN_S)
            scene.found.recoveries.append(took)
            await asyncio.sleep(AWAKE_S)
            await starting
            # What the woken one has done would be seen now.
            channel.compare(f"target after waking {number + 1}")
            await asyncio.to_thread(other.kill)
            await scene.recovered("the other worker killed", TAKEN_OVER)
        await channel.reckon()
        await export.reckon()

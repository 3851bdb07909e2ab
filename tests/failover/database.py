"""The primary of a synchronous pair is lost, or demoted, under writes; the standby takes over."""

from __future__ import annotations

import asyncio
from typing import Final

from tests.faults.experiments import Form
from tests.faults.isolation import cut_off_port
from tests.faults.scene import Gaps, Limits, Scene
from tests.kit.postgres_pair import PostgresPair

GAPS: Final = Gaps(writes_s=3, events_s=3)
"""Beyond the promotion itself. An event is heard after the write that made it."""
SILENT_GAPS: Final = Gaps(writes_s=9, events_s=9)
"""The same where nobody is told: each connection has to notice that its server is silent."""
PROMOTED: Final = Limits(writes_s=10, events_s=20)
PROMOTED_SILENTLY: Final = Limits(writes_s=15, events_s=25)
PROMOTION_S_MAX: Final = 30.0
SETTLED_S: Final = 2.0
STALLED_S: Final = 1.0


async def kill_primary(scene: Scene, form: Form) -> None:
    """SIGKILL of the primary; every other time it has first sent nothing for a second.

    What it committed meanwhile was acknowledged to nobody.
    """
    servers = pair(scene)
    for number in range(form.server_kills):
        await asyncio.sleep(SETTLED_S)
        if number % 2 == 1:
            await asyncio.to_thread(servers.stall)
            await asyncio.sleep(STALLED_S)
        began_s = asyncio.get_running_loop().time()
        await asyncio.to_thread(servers.kill_primary)
        await _taken_over(scene, "primary killed", began_s)


async def demote_primary(scene: Scene, form: Form) -> None:
    """The primary takes no more writes, lives on, and keeps all connections."""
    servers = pair(scene)
    for _ in range(form.server_kills):
        await asyncio.sleep(SETTLED_S)
        began_s = asyncio.get_running_loop().time()
        await asyncio.to_thread(servers.demote_primary)
        await _taken_over(scene, "primary demoted", began_s)


async def cut_primary(scene: Scene, form: Form) -> None:
    """The primary lives, and no packet comes from it or reaches it; its operator then ends it."""
    servers = pair(scene)
    for _ in range(form.server_kills):
        await asyncio.sleep(SETTLED_S)
        began_s = asyncio.get_running_loop().time()
        async with cut_off_port(servers.primary.port):
            await _promoted(scene, "primary cut off", began_s, PROMOTED_SILENTLY, SILENT_GAPS)
            # Nothing may reach the old primary any more, whatever becomes of the network.
            await asyncio.to_thread(servers.standby.kill)
        await asyncio.to_thread(servers.rejoin)


async def _taken_over(scene: Scene, what: str, began_s: float) -> None:
    """The standby is promoted, gaps are noted, and the pair is made whole again under writes."""
    await _promoted(scene, what, began_s, PROMOTED, GAPS)
    await asyncio.to_thread(pair(scene).rejoin)


async def _promoted(scene: Scene, what: str, began_s: float, limits: Limits, gaps: Gaps) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(pair(scene).promote)
    promoted_s = loop.time() - began_s
    scene.took(f"{what}: promotion", promoted_s, PROMOTION_S_MAX)
    await scene.recovered(what, limits)
    scene.interrupted(f"{what}, beyond the promotion", began_s, gaps, excused_s=promoted_s)


def pair(scene: Scene) -> PostgresPair:
    """The two servers of the scene."""
    private = scene.stack.servers.postgres.private
    assert isinstance(private, PostgresPair)
    return private

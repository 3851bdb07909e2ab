"""A node of the broker is lost or restarted under writes; the other two go on."""

from __future__ import annotations

import asyncio
from typing import Final

from shared.messaging.topology import RECORDS_QUEUE
from tests.faults.experiments import Form
from tests.faults.scene import Gaps, Limits, Scene
from tests.kit.rabbit_cluster import Node, RabbitCluster

GAPS: Final = Gaps(writes_s=2, events_s=2)
AGAIN: Final = Limits(writes_s=5, events_s=20)
SETTLED_S: Final = 3.0
AWAY_S: Final = 5.0


async def kill_leader(scene: Scene, form: Form) -> None:
    """SIGKILL of the node that leads the queues; it comes back later."""
    for _ in range(form.server_kills):
        await asyncio.sleep(SETTLED_S)
        await _without(scene, "leader killed", await _leader(scene))


async def restart_nodes(scene: Scene, form: Form) -> None:
    """Each node in turn is stopped in order, and started again."""
    for node in cluster(scene).nodes[: form.server_kills]:
        await asyncio.sleep(SETTLED_S)
        await _without(scene, "node restarted", node, in_order=True)


async def _without(scene: Scene, what: str, node: Node, *, in_order: bool = False) -> None:
    began_s = asyncio.get_running_loop().time()
    await asyncio.to_thread(node.stop if in_order else node.kill)
    await scene.recovered(what, AGAIN)
    await asyncio.sleep(AWAY_S)
    await asyncio.to_thread(node.start)
    await scene.recovered(f"{what}, and back", AGAIN)
    scene.interrupted(what, began_s, GAPS)


async def _leader(scene: Scene) -> Node:
    return await asyncio.to_thread(cluster(scene).leader_of, RECORDS_QUEUE)


def cluster(scene: Scene) -> RabbitCluster:
    """The nodes of the scene."""
    private = scene.stack.servers.rabbit.private
    assert isinstance(private, RabbitCluster)
    return private

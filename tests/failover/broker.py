"""A node of the broker is lost or restarted under writes; the other two go on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Final

from deploy.local.failure import StartFailed
from shared.messaging.topology import RECORDS_QUEUE
from tests.faults.experiments import Form
from tests.faults.isolation import cut_off_address
from tests.faults.scene import Gaps, Limits, Scene
from tests.kit.rabbit_cluster import Node, RabbitCluster
from tests.kit.stack import RECORDS

GAPS: Final = Gaps(writes_s=2, events_s=2)
SILENT_GAPS: Final = Gaps(writes_s=5, events_s=15)
"""Nobody is told that a node is cut off: it has to be noticed."""
AGAIN: Final = Limits(writes_s=5, events_s=20)
SETTLED_S: Final = 3.0
AWAY_S: Final = 5.0
JOINED_WITHIN_S: Final = 45.0


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


async def cut_minority(scene: Scene, form: Form) -> None:
    """A node lives and is heard by nobody; nobody is told, neither the other nodes nor clients.

    In turn it is the one to which records_service is connected, the one that leads the queues, and
    the one to which the listener on the bus is connected.
    """
    for number in range(form.server_kills):
        await asyncio.sleep(SETTLED_S)
        node = await _cut_next(scene, number)
        began_s = asyncio.get_running_loop().time()
        async with cut_off_address(node.address):
            await scene.recovered("node cut off", AGAIN)
            await asyncio.sleep(AWAY_S)
        await asyncio.to_thread(_come_back, node)
        await scene.recovered("node cut off, and back", AGAIN)
        scene.interrupted("node cut off", began_s, SILENT_GAPS)


async def _cut_next(scene: Scene, number: int) -> Node:
    if number % 3 == 0:
        return await _used_by(scene, RECORDS)
    if number % 3 == 1:
        return await _leader(scene)
    return next(node for node in cluster(scene).nodes if node.address == scene.bus.host)


def _come_back(node: Node) -> None:
    """Return when the node is there again; one that hangs is restarted, as its supervisor would.

    RabbitMQ 3.10.8 with Erlang 25.1 or later can hang while it joins the others
    (rabbitmq-server issue 6034; mended in 3.10.9).
    """
    try:
        node.wait_until_it_works(within_s=JOINED_WITHIN_S)
    except StartFailed:
        sys.stdout.write(f"{node.name} hung while it joined the others, and was restarted\n")
        node.kill()
        node.start()


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


async def _used_by(scene: Scene, service: str) -> Node:
    """The node that the broker connection of a service leads to."""
    pid = scene.stack[service].pid
    command = ["ss", "--no-header", "--tcp", "--numeric", "--processes"]
    listed = await asyncio.to_thread(
        subprocess.run, command, check=True, capture_output=True, text=True
    )
    lines = [line for line in listed.stdout.splitlines() if f"pid={pid}," in line]
    return next(
        node
        for node in cluster(scene).nodes
        if any(f" {node.address}:{node.port} " in line for line in lines)
    )


def cluster(scene: Scene) -> RabbitCluster:
    """The nodes of the scene."""
    private = scene.stack.servers.rabbit.private
    assert isinstance(private, RabbitCluster)
    return private

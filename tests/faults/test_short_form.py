"""The short form of `make faults`: one workspace while everything is broken in turn.

Silent cuts need a network of their own, and are in the full form only. So is how soon everything is
as before, which only a machine with nothing else to do can tell; here it is that it comes at all.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.checker import Kind, judge
from tests.faults.experiments import (
    SHORT,
    kill_broker,
    kill_services,
    poison,
    without_postgres,
)
from tests.faults.planted import DELETE_BEFORE_CONFIRM, copied
from tests.faults.scene import Scene
from tests.kit.stack import RECORDS, Stack

PATIENCE_S = 120


@pytest.mark.slow
async def test_nothing_is_lost_while_everything_is_broken_in_turn(
    breakable_stack: Stack, tmp_path: Path
):
    async with Scene(breakable_stack, tmp_path, "short", patience_s=PATIENCE_S) as scene:
        await kill_services(scene, replace(SHORT, kills=2))
        await without_postgres(scene, SHORT)
        await kill_broker(scene, SHORT)
        await poison(scene, SHORT)
        found = await scene.history()
    found.recoveries = [replace(one, seconds_max=PATIENCE_S) for one in found.recoveries]
    assert judge(found) == []
    assert len(found.writes) > 100


@pytest.mark.slow
async def test_a_relay_that_does_not_wait_for_confirms_is_found(
    breakable_stack: Stack, tmp_path: Path
):
    tree = copied(tmp_path / "code")
    DELETE_BEFORE_CONFIRM.plant(tree)
    await breakable_stack.kill(RECORDS)
    breakable_stack[RECORDS].start(root=tree)
    await asyncio.to_thread(breakable_stack[RECORDS].wait_ready)
    async with Scene(breakable_stack, tmp_path, "planted", patience_s=2) as scene:
        await kill_broker(scene, SHORT)
        found = await scene.history()
    assert Kind.LOST_EVENT in {violation.kind for violation in judge(found)}

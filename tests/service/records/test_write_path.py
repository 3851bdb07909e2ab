"""The path of a write: how many files an update crosses, and that ARCHITECTURE names them."""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.workspace import entries

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = f"{Path(__file__).parents[3]}/"
COMMANDS = "records_service/records/commands.py"
FILES_MAX = 46
"""Of records_service and the shelf; docs/adr/0036 says why it is not fewer, 0046, 0057,
0063, 0075, 0091 and 0099 what joined."""


def file_of(frame: FrameType | None) -> str:
    """The product's file that a frame runs, or nothing."""
    path = "" if frame is None else frame.f_code.co_filename
    file = path.removeprefix(ROOT)
    return file if file.startswith(("records_service/", "shared/")) else ""


async def traced(ask: Callable[[], Awaitable[Any]]) -> tuple[set[str], list[str]]:
    """The files of which a function runs, and the calls that enter `COMMANDS` from another."""
    files: set[str] = set()
    # Kept, so that a coroutine that goes on is not taken for another call.
    frames: set[FrameType] = set()
    entered: list[str] = []

    def note(frame: FrameType, event: str, _argument: object) -> None:
        file = file_of(frame)
        if event == "call" and file and frame not in frames:
            frames.add(frame)
            files.add(file)
            if file == COMMANDS != file_of(frame.f_back):
                entered.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        await ask()
    finally:
        sys.setprofile(None)
    return files, entered


async def test_an_update_crosses_few_files_and_enters_its_commands_once(
    workspace: RecordsWorkspace,
):
    await workspace.attribute("name")
    await workspace.attribute("price", type="number")
    await workspace.schema("apparel", ["name", "price"])
    admin = workspace.admin
    record = await workspace.record("schema-apparel", entries({"name": "A", "price": 1}))

    async def crossed(number: int) -> tuple[set[str], list[str]]:
        sent = {"values": entries({"name": f"Name {number}", "price": number})}

        async def update() -> None:
            (await admin.put(f"/records/{record['id']}", sent)).ok()

        return await traced(update)

    await crossed(2)
    runs = [await crossed(number) for number in range(3, 6)]
    assert {tuple(entered) for _, entered in runs} == {("update",)}
    # What runs in the background of one request does not run in that of each.
    files = set[str].intersection(*(files for files, _ in runs))
    # What tells of a commit runs after each, whoever made it, and no request waits for it.
    files = {file for file in files if not file.startswith("records_service/feed/")}
    assert len(files) <= FILES_MAX, sorted(files)
    assert named_by_the_architecture() <= files


def named_by_the_architecture() -> set[str]:
    """The files of the path in ARCHITECTURE.md, until the answer is written."""
    page = Path(ROOT, "ARCHITECTURE.md").read_text()
    _, _, path = page.partition("PUT /api/v1/records/ent-coastal-wb\n")
    lines = path.partition("```")[0].partition("shared/messaging/relay.py")[0]
    found: list[str] = re.findall(r"^ +(\w[\w/]*\.py) ", lines, re.MULTILINE)
    assert found
    return {
        file if file.startswith("shared/") else f"records_service/{file}"
        for file in found
        if not file.startswith("gateway/")
    }

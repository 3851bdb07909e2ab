"""One upload in a process of its own: `python -m tests.kit.uploading`, told what to do on stdin.

Writes `pieces` pieces of a mebibyte. With `commit`, prints where the file is and by how many
bytes the memory of the process grew; otherwise prints `written` and waits to be killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from deploy.local.process_figures import peak_bytes
from workflow_service.destinations import File, opened
from workflow_service.outbound.addresses import Allowed
from workflow_service.outbound.client import Outbound

PIECE = bytes(range(256)) * 4_096


async def main(told: dict[str, Any]) -> None:
    outbound = Outbound(Allowed.parse("127.0.0.1"))
    file = File(told["name"], told["run_id"], 1, "text/csv")
    async with opened(told["kind"], told["config"], file, outbound) as upload:
        await upload.write(PIECE)
        before = peak_bytes(os.getpid())
        for _ in range(told["pieces"] - 1):
            await upload.write(PIECE)
        if not told["commit"]:
            _say("written")
            await asyncio.Event().wait()
        path = await upload.commit()
    await outbound.close()
    _say(json.dumps({"path": path, "grown_bytes": peak_bytes(os.getpid()) - before}))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(json.load(sys.stdin)))

"""Sets three databases back to one moment under everybody's feet, and says what they find.

    python -m tests.restores

Exit codes: 0 all is as it has to be; 1 something is not.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

import uvloop

from tests.kit.stack import Stack
from tests.restores.scenario import Scenario
from tests.restores.servers import ThreeServers


def main() -> int:
    """Run it; returns the exit code."""
    folder = Path(tempfile.mkdtemp(prefix="sigma-restores-"))
    servers = ThreeServers()
    stack = None
    try:
        stack = Stack(servers, folder)
        stack.wait_ready()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(stack))
    except AssertionError as error:
        sys.stdout.write(f"RED: {error}\nThe logs of all processes are in {folder}\n")
        return 1
    finally:
        if stack is not None:
            stack.close()
        servers.close()
    shutil.rmtree(folder)
    sys.stdout.write("green\n")
    return 0


async def _run(stack: Stack) -> None:
    async with stack.lent():
        await Scenario(stack, lambda line: print(line, flush=True)).run()  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())

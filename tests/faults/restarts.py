"""The rolling restart of every service under 100 requests a second, by `make rolling`."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

from tests.kit.servers import ROOT

NAME = "rolling-restart"


def roll(say: Callable[[str], None], planted: bool) -> bool:
    """Whether nobody noticed; with the bug, that a process stops without draining, somebody must.

    The bug is a setting, not a patch: it turns off all that a draining process does.
    """
    command = [sys.executable, "-m", "tests.rolling", *(("--drain", "0") if planted else ())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    said = done.stdout.strip().splitlines()
    failed = re.search(r"^requests .*failed ([1-9]\d*)", done.stdout, re.MULTILINE)
    good = bool(failed) if planted else done.returncode == 0
    verdict = ("found" if good else "NOT FOUND") if planted else ("green" if good else "RED")
    say(f"{NAME}{', planted: a process stops without draining' if planted else ''}: {verdict}")
    said = said[-16:] + ([] if good else done.stderr.strip().splitlines()[-5:])
    say("\n".join(f"  {line}" for line in said))
    return good

"""PostgreSQL and RabbitMQ of another release of Debian, in a file system of their own.

    python -m tests.kit.engines trixie      # makes it once, and prints the folder of its programs

With `SIGMA_PROGRAMS=<that folder>`, private servers are of that release. Each program runs in a
mount namespace whose root that file system is, and which has /dev, /proc and the folders of private
servers from this machine. It stays the process that was started, of the same user and network.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from deploy.local.binaries import ensure_tool
from deploy.local.failure import StartFailed, last_lines

PLACE: Final = Path("/var/lib/sigma-pim/engines")
PACKAGES: Final = "postgresql,rabbitmq-server,netbase"
PROGRAM_FOLDERS: Final = ("usr/lib/postgresql/*/bin", "usr/lib/rabbitmq/lib/*/sbin")
FROM_HERE: Final = ("/dev", "/proc", tempfile.gettempdir(), str(PLACE.parent))
# Who mounts has to be root in a namespace, and who owns a server's data must not be: hence two.
WRAPPER: Final = """#!/bin/sh
exec unshare --user --map-root-user --mount sh -c '
    user=$1 group=$2 root=$3
    shift 3
    for at in {from_here}; do mount --rbind "$at" "$root$at" || exit 1; done
    exec unshare --user --map-user="$user" --map-group="$group" --root="$root" --wd=/ -- "$@"
' sh "$(id -u)" "$(id -g)" {root} {program} "$@"
"""


def programs(suite: str) -> Path:
    """The folder of the programs of this release; made when it is not there, in minutes.

    Raises `StartFailed` with what is missing.
    """
    root = PLACE / suite / "root"
    if not root.exists():
        _make(suite, root)
    folder = PLACE / suite / "programs"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for pattern in PROGRAM_FOLDERS:
        for program in sorted(root.glob(f"{pattern}/*")):
            wrapper = folder / program.name
            wrapper.write_text(
                WRAPPER.format(
                    from_here=" ".join(FROM_HERE),
                    root=shlex.quote(str(root)),
                    program=shlex.quote(f"/{program.relative_to(root)}"),
                )
            )
            wrapper.chmod(0o755)
    return folder


def _make(suite: str, root: Path) -> None:
    part = f"Debian {suite}"
    if os.geteuid() != 0:
        raise StartFailed(part, "making a root file system needs root")
    mmdebstrap = ensure_tool("mmdebstrap")
    sys.stderr.write(f"Making a file system of {part} with {PACKAGES} (some minutes)\n")
    root.parent.mkdir(parents=True, exist_ok=True)
    # Made under another name first: a folder that has its name is whole.
    unfinished, log = root.with_name("root.new"), root.with_name("log")
    shutil.rmtree(unfinished, ignore_errors=True)
    command = [str(mmdebstrap), "--variant=minbase", f"--include={PACKAGES}", suite]
    with log.open("w") as said:
        done = subprocess.run([*command, str(unfinished)], check=False, stdout=said, stderr=said)
    if done.returncode != 0:
        lines = "\n".join(f"  | {line}" for line in last_lines(log))
        raise StartFailed(part, f"mmdebstrap failed:\n{lines}")
    for at in FROM_HERE:
        (unfinished / at.lstrip("/")).mkdir(parents=True, exist_ok=True)
    (unfinished / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
    unfinished.chmod(0o755)
    unfinished.rename(root)


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{programs(sys.argv[1])}\n")
    except StartFailed as failure:
        sys.exit(str(failure))

"""Applies missing migrations to the databases of a `make run` that is running: `make migrate`."""

from __future__ import annotations

import json
import subprocess
import sys

from deploy.local.databases import ADDRESSES
from deploy.local.folder import FOLDER, ROOT
from deploy.local.settings import with_database


def main() -> int:
    """1 when nothing runs, or a migration failed and said why."""
    try:
        addresses: dict[str, str] = json.loads((FOLDER / ADDRESSES).read_text())
    except FileNotFoundError:
        print("make run is not running: start it; it applies migrations itself.", file=sys.stderr)
        return 1
    done = [
        subprocess.run(
            [sys.executable, "-m", "shared.database.migrations", service],
            cwd=ROOT,
            env=with_database(address),
            check=False,
        )
        for service, address in addresses.items()
    ]
    return max(each.returncode for each in done)


if __name__ == "__main__":
    sys.exit(main())

"""Writes the tables of docs/scale.md and what pods request, or shows what a size of your own needs.

.venv/bin/python -m deploy.capacity                                      what make capacity does
.venv/bin/python -m deploy.capacity --workspaces 300 --records 4000000 --writes 120
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from deploy.capacity.model import Size, plan
from deploy.capacity.page import PAGE, filled
from deploy.capacity.pods import BASE, manifests, pods
from deploy.capacity.tables import of_sizes, tables
from deploy.capacity.unit_costs import load


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page, or print the table of the size that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m deploy.capacity")
    parser.add_argument("--workspaces", type=_count, help="1 by default")
    parser.add_argument("--records", type=_count, help="records in all workspaces together")
    parser.add_argument("--writes", type=_count, help="writes a second in the busiest minutes")
    called = parser.parse_args(arguments)
    costs = load()
    if (called.records is None) != (called.writes is None):
        parser.error("--records and --writes belong together")
    if called.workspaces is not None and called.records is None:
        parser.error("--workspaces needs --records and --writes")
    if called.records is not None:
        size = Size("needed", called.workspaces or 1, called.records, float(called.writes))
        print(of_sizes([plan(costs, size)]))
        return
    PAGE.write_text(filled(PAGE.read_text(), tables(costs)))
    print(f"wrote docs/{PAGE.name}")
    for file, text in manifests(pods(costs)).items():
        if file.read_text() != text:
            file.write_text(text)
            print(f"wrote {file.relative_to(BASE.parents[2])}")


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text[:14]) <= 10**12:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 10^12, got '{text}'")
    return int(text)


if __name__ == "__main__":
    main()

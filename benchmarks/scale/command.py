"""`make bench ARGS=scale`: measures, and writes benchmarks/unit_costs.json.

    .venv/bin/python -m benchmarks scale [costs] [stored] [doubling] [run] [rounds=3] [rate=250]

Each part that is named (all, if none is) is measured anew and replaces the same part of the file;
docs/scale.md and what Kubernetes requests follow from it: `make capacity`.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks import machine
from benchmarks.scale import doubling, real_run, stored, unit_costs, world
from benchmarks.scale.world import Scale

FILE: Final = Path(__file__).parents[1] / "unit_costs.json"
PARTS: Final = ("costs", "stored", "doubling", "run")
ROUNDS: Final = 3
NUMBER_MAX: Final = 9_999


async def main(arguments: list[str]) -> None:
    """Measure these parts, or all; `SystemExit` for an argument that is neither."""
    named = [part for part in arguments if part in PARTS]
    numbers = {"rounds": ROUNDS, "rate": real_run.RATE}
    for other in (argument for argument in arguments if argument not in PARTS):
        name, _, number = other.partition("=")
        if name not in numbers or not number.isdigit() or not 1 <= int(number) <= NUMBER_MAX:
            expected = f"{', '.join(PARTS)}, rounds=<number> or rate=<number>"
            raise SystemExit(f"make bench ARGS=scale: expected {expected}, got '{other}'")
        numbers[name] = int(number)
    print(machine.described(), flush=True)
    async with world.opened() as here:
        for part in named or PARTS:
            print(part, flush=True)
            before = os.getloadavg()[0]
            found = await _measured(part, here, numbers)
            _keep(part, found | {"measured": _when(before)})
    print(f"wrote {FILE.name}")


async def _measured(part: str, here: Scale, numbers: dict[str, int]) -> dict[str, Any]:
    match part:
        case "costs":
            return await unit_costs.measure(here, numbers["rounds"])
        case "stored":
            return await stored.measure(here)
        case "doubling":
            return await doubling.measure(here, numbers["rounds"])
        case _:
            return await real_run.measure(here, numbers["rate"])


def _when(load_before: float) -> dict[str, Any]:
    """Date, machine and load: what a figure belongs to."""
    return {
        "at": datetime.now(UTC).date().isoformat(),
        "machine": machine.described().splitlines(),
        "load": [round(load_before, 1), round(os.getloadavg()[0], 1)],
    }


def _keep(part: str, found: dict[str, Any]) -> None:
    """Replace this part, and leave the others as they are."""
    whole = json.loads(FILE.read_text()) if FILE.exists() else {}
    FILE.write_text(json.dumps(whole | {part: found}, indent=1, sort_keys=True) + "\n")

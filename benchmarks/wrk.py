"""Runs `wrk` against one address and reads what it says."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1_000.0, "m": 60_000.0}


@dataclass(frozen=True, slots=True)
class Load:
    """Requests per second, and the time to answer at two percentiles."""

    per_second: float
    p50_ms: float
    p99_ms: float


def wrk(
    url: str,
    headers: Mapping[str, str],
    *,
    clients: int,
    seconds: int,
    script: str = "",
    failing: float = 0.0,
) -> Load:
    """One run of one thread; it fails if more than `failing` of the answers are not 2xx."""
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit("wrk is missing: apt-get install wrk")
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as lua:
        lua.write(script)
        lua.flush()
        command = [program, "-t1", f"-c{clients}", f"-d{seconds}s", "--latency"]
        for name, value in headers.items():
            command += ["-H", f"{name}: {value}"]
        if script:
            command += ["-s", lua.name]
        said = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    requests = int(_found(r"(\d+) requests in", said)[0])
    if "Socket errors" in said or (failed and int(failed[1]) > failing * requests):
        raise SystemExit(f"errors while measuring {url}\n{said}")
    return Load(
        per_second=float(_found(r"Requests/sec:\s+([\d.]+)", said)[0]),
        p50_ms=_milliseconds(said, "50%"),
        p99_ms=_milliseconds(said, "99%"),
    )


def _milliseconds(said: str, percentile: str) -> float:
    number, unit = _found(rf"\s{percentile}\s+([\d.]+)(us|ms|s|m)\s", said)
    return float(number) * _UNITS_MS[unit]


def _found(pattern: str, text: str) -> tuple[str, ...]:
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"wrk said something unexpected:\n{text}")
    return match.groups()

"""What processes use, as the kernel counts it: CPU time and memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_STATE, _USED, _USED_WITH_ENDED = 0, slice(11, 13), slice(11, 15)
_ZOMBIE: Final = "Z"
_FORGET_PEAK: Final = "5"


def lives(pid: int) -> bool:
    """Whether the process is there and has not ended."""
    return _fields(pid)[_STATE : _STATE + 1] not in ([], [_ZOMBIE])


def cpu_seconds(pid: int, *, with_ended: bool = False) -> float:
    """CPU seconds so far; on request with those of children that have ended. 0 if it is gone."""
    return sum(map(int, _fields(pid)[_USED_WITH_ENDED if with_ended else _USED])) / _TICKS


def memory_bytes(pid: int) -> int:
    """Memory of this process. Of what it shares with others, its part, where the kernel tells."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return resident_bytes(pid)


def resident_bytes(pid: int) -> int:
    """Memory of this process, with all that it shares with others; 0 if it is gone."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    return 0


def peak_bytes(pid: int) -> int:
    """The most that `resident_bytes` has been of the program that runs there; 0 if it is gone.

    `ru_maxrss` of the same process begins with the peak of whoever has started it.
    """
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def forget_peak(pid: int) -> None:
    """Let `peak_bytes` begin anew."""
    Path(f"/proc/{pid}/clear_refs").write_text(_FORGET_PEAK)


def family(pid: int) -> Iterator[int]:
    """The process and all that come from it."""
    yield pid
    for child in children(pid):
        yield from family(child)


def children(pid: int) -> list[int]:
    """The processes that this one has started, and that are there."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def _fields(pid: int) -> list[str]:
    """Of /proc/<pid>/stat, from the state on; nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []

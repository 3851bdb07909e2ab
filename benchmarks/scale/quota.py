"""Gives processes a share of a core and no more: a control group of the kernel for each process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_PERIOD_US: Final = 20_000
_V1: Final = Path("/sys/fs/cgroup/cpu")
_V2: Final = Path("/sys/fs/cgroup")


@contextmanager
def shares(pids: list[int], share: float) -> Iterator[None]:
    """Each process has this share of one core while the block runs; needs root.

    `SystemExit` where the kernel lets nobody do that.
    """
    groups = []
    try:
        for pid in pids:
            groups.append(_group(f"sigma-scale-{os.getpid()}-{pid}", share))
            (groups[-1] / "cgroup.procs").write_text(str(pid))
        yield
    except OSError as error:
        raise SystemExit(f"shares of a core need a writable control group: {error}") from error
    finally:
        for pid, group in zip(pids, groups, strict=False):
            with suppress(OSError):
                (group.parent / "cgroup.procs").write_text(str(pid))
            with suppress(OSError):
                group.rmdir()


def _group(name: str, share: float) -> Path:
    quota_us = round(share * _PERIOD_US)
    if _V1.exists():
        group = _V1 / name
        group.mkdir()
        (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(quota_us))
    else:
        group = _V2 / name
        group.mkdir()
        (group / "cpu.max").write_text(f"{quota_us} {_PERIOD_US}")
    return group

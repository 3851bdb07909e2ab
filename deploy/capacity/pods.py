"""What pods request and what scales them on Kubernetes, as it follows from the unit costs.

The manifests have these numbers written out by `make capacity`; a test compares them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.capacity.model import MEMORY_HEADROOM, REFERENCE, REPLICAS_MIN, TARGET, cores
from deploy.capacity.unit_costs import APIS, WORKERS, UnitCosts

CPU_STEP_M: Final = 50
CPU_MIN_M: Final = 100
MEMORY_STEP_MI: Final = 32
MEMORY_MIN_MI: Final = 192
"""A large request or model needs some memory for a moment."""
SLOWEST_MS: Final = 10.0
"""What a hundredth of the requests may spend in one process, waiting and working."""
BASE: Final = Path(__file__).parents[1] / "kubernetes" / "base"
_REQUESTS: Final = re.compile(r"requests: \{ cpu: \w+, memory: \w+ \}")
_TARGET: Final = re.compile(r"averageValue: \w+")
_HUNDREDTH: Final = math.log(100)
_MI: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Pod:
    """One kind of pod; `hpa_m` is None where CPU does not scale it."""

    name: str
    used_m: float
    """Thousandths of a core that each of two uses at the reference size."""
    cpu_m: int
    memory_mi: int
    hpa_m: int | None
    request_us: float
    """Mean CPU of a request in this process."""


def pods(costs: UnitCosts) -> list[Pod]:
    """All kinds, those that answer first."""
    return [_pod(costs, name, scales=True) for name in APIS] + [
        _pod(costs, name, scales=False) for name in WORKERS
    ]


def manifests(found: list[Pod]) -> dict[Path, str]:
    """The manifests of these pods with their numbers, by file.

    One autoscaler is for all services, so it has the lowest of their targets.
    """
    texts = {}
    for pod in found:
        service, _, role = pod.name.partition(" ")
        file = BASE / service.replace("_", "-") / f"{role or 'api'}.yaml"
        numbers = f"requests: {{ cpu: {pod.cpu_m}m, memory: {pod.memory_mi}Mi }}"
        texts[file] = _REQUESTS.sub(numbers, file.read_text())
    file = BASE / "common" / "autoscaler.yaml"
    lowest = min(pod.hpa_m for pod in found if pod.hpa_m is not None)
    return texts | {file: _TARGET.sub(f"averageValue: {lowest}m", file.read_text())}


def _pod(costs: UnitCosts, name: str, *, scales: bool) -> Pod:
    used = cores(costs, REFERENCE.rates)[name] / REPLICAS_MIN + costs.idle_cores[name]
    megabytes = costs.memory_mb[name] * MEMORY_HEADROOM
    request_us = _request_us(costs, name)
    return Pod(
        name,
        used_m=1000 * used,
        cpu_m=max(CPU_MIN_M, _up(1000 * used, CPU_STEP_M)),
        memory_mi=max(MEMORY_MIN_MI, _up(megabytes * 1e6 / _MI, MEMORY_STEP_MI)),
        hpa_m=_target_m(request_us) if scales else None,
        request_us=request_us,
    )


def _up(number: float, step: int) -> int:
    return step * math.ceil(number / step)


def _target_m(request_us: float) -> int:
    """The lower of two: what survives the loss of one of three, and what keeps answers fast.

    With random arrivals, a hundredth of the requests takes longer than ln(100) times the mean
    divided by what is free of the core.
    """
    fast = 1 - _HUNDREDTH * request_us / 1000 / SLOWEST_MS
    return CPU_STEP_M * math.floor(1000 * min(TARGET, fast) / CPU_STEP_M + 1e-9)


def _request_us(costs: UnitCosts, name: str) -> float:
    """Over the requests of the reference that this process sees.

    Without logins: passwords are hashed in threads, beside the loop.
    """
    seen = {
        kind: rate
        for kind, rate in REFERENCE.rates.items()
        if costs.operations[kind].alone_ms
        and kind != "login"
        and costs.operations[kind].cpu_us[name] >= 1
    }
    if not seen:
        return 0.0
    spent = sum(rate * costs.operations[kind].cpu_us[name] for kind, rate in seen.items())
    return spent / sum(seen.values())

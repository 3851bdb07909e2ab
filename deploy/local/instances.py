"""How many processes of each service run, and what each of them is called."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from deploy.local.settings import DATABASES, SERVICES, Ports

PROCESSES_MAX: Final = 8
"""Of one service. A process takes one core at most."""
_CONNECTIONS: Final = 20
"""What one process may open to its database: its pool, the relay, and those of the change feed."""
_CONNECTIONS_RESERVED: Final = 50
_SHOWN_MAX: Final = 60


@dataclass(frozen=True, slots=True)
class Instance:
    """One process of a service: the first, the second, ..."""

    service: str
    number: int = 1
    shares_port: bool = False
    """Whether others of the same service listen on its port, too."""

    @property
    def name(self) -> str:
        """The name of the service; from the second process on with its number."""
        return self.service if self.number == 1 else f"{self.service}-{self.number}"

    def settings(self, ports: Ports) -> dict[str, str]:
        """The environment variables in which it differs from the others of its service."""
        return {
            "SIGMA_INTERNAL_PORT": str(ports.internal(self.service, self.number)),
            "SIGMA_REUSE_PORT": str(self.shares_port).lower(),
        }


def instances(processes: Mapping[str, int]) -> Iterator[Instance]:
    """All processes, the services in the order of their start; one of each that is not named."""
    for service in SERVICES:
        count = processes.get(service, 1)
        for number in range(1, count + 1):
            yield Instance(service, number, shares_port=count > 1)


def connections_max(processes: Mapping[str, int]) -> int:
    """The `max_connections` that PostgreSQL needs for so many processes."""
    with_database = sum(processes.get(service, 1) for service in DATABASES)
    return _CONNECTIONS * with_database + _CONNECTIONS_RESERVED


def parse(text: str) -> dict[str, int]:
    """`records_service=2 gateway=2` (or with commas); `ValueError` says all that is wrong."""
    found: dict[str, int] = {}
    problems = []
    for part in re.split(r"[\s,]+", text.strip()):
        if not part:
            continue
        service, equals, count = part.partition("=")
        if not equals or service not in SERVICES:
            problems.append(
                f"expected a service ({', '.join(SERVICES)}) and a number, such as"
                f" records_service=2, got '{part[:_SHOWN_MAX]}'"
            )
        elif not (count.isascii() and count.isdigit() and 1 <= int(count[:9]) <= PROCESSES_MAX):
            problems.append(
                f"{service} must be a number from 1 to {PROCESSES_MAX}, got '{count[:_SHOWN_MAX]}'"
            )
        elif service in found:
            problems.append(f"{service} is named twice")
        else:
            found[service] = int(count)
    if problems:
        raise ValueError("; ".join(problems))
    return found

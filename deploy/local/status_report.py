"""The report of `make status`: what each part says of itself, and the text of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from deploy.local.folder import Running

_MB: Final = 1e6
_APART: Final = "  "


@dataclass(frozen=True, slots=True)
class ServiceFigures:
    """What a process counts itself; the outbox is None where it is not measured."""

    requests: int
    failed: int
    in_flight: int
    connections: Mapping[str, int]
    """Of its pool, by state."""
    loop_lag_s: float
    outbox_events: int | None
    outbox_age_s: float | None


@dataclass(frozen=True, slots=True)
class DatabaseFigures:
    """Connections by database, and how many there may be."""

    connections: Mapping[str, int]
    connections_max: int


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """Messages that no consumer has yet, consumers, and messages nobody could handle."""

    name: str
    waiting: int
    consumers: int
    dead: int


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One process, or one server; `state` is empty when it is ready, else what is in the way."""

    part: Running
    state: str
    memory_bytes: int
    cores: float
    figures: ServiceFigures | None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that runs."""

    holder: str
    folder: str
    parts: Sequence[PartStatus]
    database: DatabaseFigures | None
    queues: Sequence[QueueStatus]

    @property
    def ready(self) -> bool:
        """Whether everything is, and there is anything."""
        return bool(self.parts) and not any(part.state for part in self.parts)


def text_of(report: Report) -> str:
    """The report for people."""
    services = [part for part in report.parts if part.part.probes]
    servers = [part for part in report.parts if not part.part.probes]
    pieces = [f"make run: {report.holder}; data, keys and logs are in {report.folder}"]
    if not report.parts:
        return f"{pieces[0]}\nIt is still starting its servers."
    pieces.append(
        _table(
            *("process", "pid", "port", "probes", "memory", "cores", "requests", "5xx"),
            *("in flight", "connections", "loop lag", "state"),
            rows=[_row_of_service(each) for each in services],
        )
    )
    pieces.append(
        _table(
            *("server", "pid", "port", "memory", "cores", "state"),
            rows=[
                [each.part.name, *_place(each), *_used(each), each.state or "ready"]
                for each in servers
            ],
        )
    )
    if report.database is not None:
        by_database = report.database.connections
        told = ", ".join(f"{name} {count}" for name, count in by_database.items())
        total = sum(by_database.values())
        most = report.database.connections_max
        pieces.append(f"Connections to PostgreSQL: {total} of {most} ({told})")
    if outboxes := list(_outboxes(services)):
        pieces.append(_table("outbox of", "events", "oldest", rows=outboxes))
    if report.queues:
        rows = [[q.name, str(q.waiting), str(q.consumers), str(q.dead)] for q in report.queues]
        pieces.append(_table("queue", "waiting", "consumers", "dead letters", rows=rows))
    pieces.append(_verdict(report))
    return "\n\n".join(pieces)


def _row_of_service(status: PartStatus) -> list[str]:
    figures = status.figures
    told = ["", "", "", "", ""]
    if figures is not None:
        connections = ", ".join(f"{n} {state}" for state, n in sorted(figures.connections.items()))
        told = [
            *(str(figures.requests), str(figures.failed), str(figures.in_flight)),
            *(connections, f"{figures.loop_lag_s * 1000:.0f} ms"),
        ]
    port, *_ = _place(status)[1:]
    return [
        *(status.part.name, str(status.part.pid), port, str(status.part.probes)),
        *(*_used(status), *told, status.state or "ready"),
    ]


def _place(status: PartStatus) -> list[str]:
    pid = status.part.pid
    return ["elsewhere" if pid is None else str(pid), str(status.part.port)]


def _used(status: PartStatus) -> list[str]:
    if not status.memory_bytes:
        return ["", ""]
    return [f"{status.memory_bytes / _MB:.0f} MB", f"{status.cores:.2f}"]


def _outboxes(services: Iterable[PartStatus]) -> Iterable[list[str]]:
    """One line for each service: all its processes measure the same outbox, not all at once."""
    seen: dict[str, tuple[int, float]] = {}
    for each in services:
        figures = each.figures
        if figures is not None and figures.outbox_events is not None:
            was = seen.get(each.part.service, (0, 0.0))
            age_s = figures.outbox_age_s or 0.0
            seen[each.part.service] = max(was[0], figures.outbox_events), max(was[1], age_s)
    for service, (events, age_s) in seen.items():
        yield [service, str(events), f"{age_s:.1f} s" if events else ""]


def _verdict(report: Report) -> str:
    waiting = [part for part in report.parts if part.state]
    if not waiting:
        return f"All {len(report.parts)} are ready."
    told = "\n".join(f"  {part.part.name}: {part.state}" for part in waiting)
    return f"{len(waiting)} of {len(report.parts)} not ready:\n{told}"


def _table(*heads: str, rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their longest cell; the last one ends where its text ends."""
    lines = [heads, *rows]
    widths = [max(len(line[n]) for line in lines) for n in range(len(heads))]
    return "\n".join(
        _APART.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )

"""The tables of docs/scale.md, each from the model, the simulation or the measurement itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from deploy.capacity.model import (
    AVERAGE_SHARE,
    MB,
    RECORDS,
    REFERENCE,
    SIZES,
    Plan,
    cores,
    limits,
    plan,
)
from deploy.capacity.pods import pods
from deploy.capacity.simulation import ANSWERED, Layout, simulate
from deploy.capacity.unit_costs import APIS, BROKER, GATEWAY, SERVICES, WORKERS, UnitCosts

_KB: Final = 1_000
_GB: Final = 1_000_000_000
_DAY_S: Final = 86_400
_SHORT: Final = {
    "create": "create",
    "update": "update of a value",
    "read": "read by key",
    "list": "list of 50",
    "search": "search, 50 by a filterable text",
    "bulk_record": "row of a bulk call that creates",
    "roles": "list of roles",
    "workflows": "list of workflows",
    "login": "login with a password",
    "role_change": "change of a role, with its event",
    "webhook_delivery": "delivery to a webhook",
}


def tables(costs: UnitCosts) -> dict[str, str]:
    """All tables, by the name of their place in the page."""
    made: Mapping[str, Callable[[UnitCosts], str]] = {
        "measured": _measured,
        "costs": _costs,
        "storage": _storage,
        "memory": _memory,
        "doubling": _doubling,
        "sizes": _sizes,
        "databases": _databases,
        "limits": _limits,
        "simulation": _simulation,
        "compared": _compared,
        "pods": _pods,
    }
    return {name: make(costs) for name, make in made.items()}


def of_sizes(plans: Sequence[Plan]) -> str:
    """What these sizes need, side by side."""

    def row(what: str, cell: Callable[[Plan], str]) -> list[str]:
        return [what, *(cell(one) for one in plans)]

    rows = [
        row("workspaces", lambda p: f"{p.size.workspaces:,}"),
        row("records", lambda p: f"{p.size.records:,}"),
        row("writes a second, half of them rows of bulk calls", lambda p: f"{p.size.writes:,.0f}"),
        row(
            "reads, lists, searches a second",
            lambda p: ", ".join(f"{p.size.rates[k]:,.0f}" for k in ("read", "list", "search")),
        ),
        *(row(f"processes of {name} (cores in use)", _tier(name)) for name in (*APIS, *WORKERS)),
        row(
            "memory of all processes, GB",
            lambda p: f"{sum(t.memory_mb for t in p.tiers.values()) / 1000:.1f}",
        ),
        *(row(f"cores in use for {name}'s database", _database(name)) for name in SERVICES),
        row("cores in use by RabbitMQ", lambda p: f"{p.broker_cores:.2f}"),
        row("events to RabbitMQ, MB/s", lambda p: f"{p.broker_bytes_s / MB:.2f}"),
        row("write-ahead log, MB/s", lambda p: f"{p.wal_bytes_s / MB:.1f}"),
        row(
            "write-ahead log of an average day, GB",
            lambda p: f"{p.wal_bytes_s * AVERAGE_SHARE * _DAY_S / _GB:,.0f}",
        ),
        row("records and their search index, GB", lambda p: f"{p.stored.records / _GB:,.0f}"),
        row("of which indexes, GB", lambda p: f"{p.stored.indexes / _GB:,.0f}"),
        row("history of the first year, GB", lambda p: f"{p.stored.history_a_year / _GB:,.0f}"),
        row("change feed of 7 days, GB", lambda p: f"{p.stored.feed / _GB:,.1f}"),
    ]
    return _table(["", *(p.size.name for p in plans)], rows)


def _tier(name: str) -> Callable[[Plan], str]:
    return lambda p: f"{p.tiers[name].processes} ({p.tiers[name].cores:.2f})"


def _database(name: str) -> Callable[[Plan], str]:
    return lambda p: f"{p.databases[name].cores:.2f}"


def _measured(costs: UnitCosts) -> str:
    rows = []
    for part, what in (
        ("costs", "costs and memory"),
        ("stored", "bytes"),
        ("doubling", "1, 2 and 4 processes"),
        ("run", "mixed load"),
    ):
        if part not in costs.measured:
            continue
        told = costs.measured[part]
        load = " to ".join(str(one) for one in told["load"])
        rows.append([what, told["at"], "; ".join(told["machine"]), load])
    return _table(["measured", "on", "machine", "load of the machine"], rows)


def _costs(costs: UnitCosts) -> str:
    rows = []
    for name, told in _SHORT.items():
        one = costs.operations[name]
        us = one.cpu_us
        databases = sum(us[f"PostgreSQL for {service}"] for service in SERVICES) + us["PostgreSQL"]
        rows.append(
            [
                told,
                *(f"{us[api]:,.0f}" for api in APIS),
                f"{sum(us[worker] for worker in WORKERS):,.0f}",
                f"{databases:,.0f}",
                f"{us[BROKER]:,.0f}",
                f"{sum(us.values()):,.0f}",
                f"{one.wal_bytes / _KB:.1f}",
                f"{sum(one.connection_ms.values()):.2f}",
            ]
        )
    heads = ["microseconds of CPU for a", *APIS, "workers", "PostgreSQL", "RabbitMQ", "all"]
    return _table([*heads, "WAL, kB", "ms on a connection"], rows)


def _storage(costs: UnitCosts) -> str:
    rows = []
    for kind, what in (
        ("records", "the record itself, unique values, counts"),
        ("search", "search index, words of texts"),
        ("history", "history"),
        ("feed", "change feed, for 7 days"),
    ):
        record, update = costs.stored["record"][kind], costs.stored["update"].get(kind, {})
        rows.append(
            [
                what,
                *(f"{record[where]:,.0f}" for where in ("tables", "indexes")),
                *(f"{update.get(where, 0):,.0f}" for where in ("tables", "indexes")),
            ]
        )
    heads = ["bytes for each", "new record, tables", "indexes", "update, tables", "indexes"]
    return _table(heads, rows)


def _memory(costs: UnitCosts) -> str:
    rows = [
        [name, f"{costs.memory_mb[name]:.0f}", f"{1000 * costs.idle_cores[name]:.0f}"]
        for name in (*APIS, *WORKERS)
    ]
    return _table(["process", "MB after load", "thousandths of a core when nothing is asked"], rows)


def _doubling(costs: UnitCosts) -> str:
    rows = []
    for name, rates in costs.doubling.get("requests_per_second", {}).items():
        counts = [f"{rates[count]:,}/s" for count in ("1", "2", "4")]
        rows.append([name, *counts, f"{rates['2 / 1']:.2f}", f"{rates['4 / 2']:.2f}"])
    return _table(["", "1 process", "2", "4", "2 beside 1", "4 beside 2"], rows)


def _sizes(costs: UnitCosts) -> str:
    return of_sizes([plan(costs, size) for size in SIZES])


def _databases(costs: UnitCosts) -> str:
    rows = []
    for service in SERVICES:
        for size in SIZES:
            one = plan(costs, size).databases[service]
            rows.append(
                [
                    f"{service}, {size.name}",
                    f"{one.busy_connections:.1f}",
                    str(one.default_connections),
                    f"{one.pool}: {one.open_connections}",
                ]
            )
    heads = ["database, size", "connections that work at a time", "open, with pools of 16"]
    return _table([*heads, "enough: pool, and then open"], rows)


def _limits(costs: UnitCosts) -> str:
    rows = [[one.what, f"{one.writes:,.0f}", one.answer] for one in limits(costs)]
    return _table(["limit", "writes a second at which it is reached", "then"], rows)


def _layout(one: Plan) -> Layout:
    cores_needed = sum(database.cores for database in one.databases.values())
    return Layout(
        one.tiers[GATEWAY].processes, one.tiers[RECORDS].processes, max(2, round(2 * cores_needed))
    )


def _simulation(costs: UnitCosts) -> str:
    rows = []
    large = plan(costs, SIZES[-1])
    whole = _layout(large)
    lost = Layout(
        whole.gateways - -(-whole.gateways // 3),
        whole.apis - -(-whole.apis // 3),
        whole.database_cores,
    )
    for name, layout in (("as planned", whole), ("a third of the processes lost", lost)):
        outcome = simulate(costs, large.size.rates, layout)
        busy = ", ".join(f"{100 * part:.0f} %" for part in outcome.busy.values())
        rows.append(
            [
                f"{name}: {layout.gateways}, {layout.apis}, {layout.database_cores}",
                busy,
                *(
                    f"{outcome.percentile(kind, 0.5):.1f}, {outcome.percentile(kind, 0.99):.1f}"
                    for kind in ANSWERED
                ),
            ]
        )
    heads = ["size large: gateways, processes of records_service, cores of databases", "busy"]
    return _table([*heads, *(f"{kind}, ms" for kind in ANSWERED)], rows)


def _compared(costs: UnitCosts) -> str:
    run = costs.run
    sent = {kind: count / run["seconds"] for kind, count in run["sent"].items()}
    alone, together = cores(costs, sent, alone=True), cores(costs, sent)
    rows = [
        [
            f"{part}, cores",
            f"{alone[part] + costs.idle_cores[part]:.3f}",
            f"{together[part] + costs.idle_cores[part]:.3f}",
            f"{run['cores'][part]:.3f}",
        ]
        for part in run["cores"]
    ]
    idle = sum(costs.idle_cores.values())
    rows.append(
        [
            "**all, cores**",
            f"{sum(alone.values()) + idle:.2f}",
            f"{sum(together.values()) + idle:.2f}",
            f"{sum(run['cores'].values()):.2f}",
        ]
    )
    wal_alone = sum(rate * costs.operations[kind].alone_wal_bytes for kind, rate in sent.items())
    wal = sum(rate * costs.operations[kind].wal_bytes for kind, rate in sent.items())
    rows.append(
        [
            "write-ahead log, kB/s",
            f"{wal_alone / _KB:,.0f}",
            f"{wal / _KB:,.0f}",
            f"{run['wal_bytes_per_second'] / _KB:,.0f}",
        ]
    )
    record = costs.stored["record"]
    more = run["records_more"] * sum(sum(each.values()) for each in record.values()) / MB
    rows.append(
        [
            f"database, MB for {run['records_more']:,} more records",
            "",
            f"{more:,.0f}",
            f"{run['bytes_more'] / MB:,.0f}",
        ]
    )
    outcome = simulate(costs, run["rates"], Layout(gateways=1, apis=1, database_cores=2))
    for kind in ANSWERED:
        told = run["latency_ms"][kind]
        rows.append(
            [
                f"{kind}, ms: p50, p95 (simulated)",
                "",
                f"{outcome.percentile(kind, 0.5):.1f}, {outcome.percentile(kind, 0.95):.1f}",
                f"{told['p50']:.1f}, {told['p95']:.1f}",
            ]
        )
    heads = ["", "predicted, one at a time", "predicted, 16 at a time", "measured"]
    return _table(heads, rows)


def _pods(costs: UnitCosts) -> str:
    rows = [
        [
            pod.name,
            f"{pod.request_us:,.0f}" if pod.hpa_m else "",
            f"{pod.used_m:.0f}m",
            f"{pod.cpu_m}m",
            f"{pod.memory_mi}Mi",
            f"{pod.hpa_m}m" if pod.hpa_m else "",
        ]
        for pod in pods(costs)
    ]
    heads = ["pod", "microseconds for a request", f"CPU of one of two at size {REFERENCE.name}"]
    return _table([*heads, "`requests.cpu`", "`requests.memory`", "autoscaler's target"], rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)

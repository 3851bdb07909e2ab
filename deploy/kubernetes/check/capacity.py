"""Rules: what all replicas need is there, one thing scales them, and they have time to stop."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from deploy.kubernetes.check.configuration import configs
from deploy.kubernetes.check.manifests import (
    MIGRATIONS,
    Manifests,
    Pod,
    Program,
    SecretKey,
    Workload,
    selects,
    title_of,
)
from deploy.kubernetes.check.rendering import Document
from shared.database.connection import CLOSE_IDLE_S
from shared.database.pool import CLOSE_WAIT_S
from shared.launch import FINISH_S_MAX
from shared.messaging import consuming, relay
from shared.process.config import DatabaseConfig

RELAY_CONNECTIONS: Final = 1
"""The session that holds the lock of the relay, besides the pool."""
FEED_CONNECTIONS: Final = 1
"""The session that hears of the change feed, in every process of records_service, and the one that
places events in it, in those that work."""
JOB_CONNECTIONS: Final = 1
RESERVED: Final = 10
"""For administration, backups, metrics and replication."""
DEFAULT_MAX: Final = 100
"""PostgreSQL's own, where nothing sets another."""
STOP_S: Final = (
    FINISH_S_MAX + consuming.STOP_WAIT_S + relay.STOP_WAIT_S + CLOSE_WAIT_S + CLOSE_IDLE_S
)


def time_to_stop(manifests: Manifests) -> Iterator[str]:
    """The grace period is at least drain, requests, events, relay and database together."""
    for program, config in configs(manifests):
        needed = config.drain_seconds + STOP_S
        given = program.workload.pod.get("terminationGracePeriodSeconds", 30)
        if given < needed:
            yield f"{program.title} may need {needed:g} s to stop and is killed after {given} s"


def database_connections(manifests: Manifests) -> Iterator[str]:
    """All replicas together, in the middle of a rollout, have at most `max_connections`."""
    needed: dict[str, int] = {}
    for program, config in configs(manifests):
        if isinstance(config, DatabaseConfig):
            each = config.database_connections_max
            sessions = RELAY_CONNECTIONS if program.role != "api" else 0
            if program.module == "records_service":
                sessions += FEED_CONNECTIONS * (1 if program.role == "api" else 2)
            each += sessions
            most = manifests.replicas_max(program.workload) + _surge(manifests, program.workload)
            database = _database(manifests, program)
            needed[database] = needed.get(database, 0) + most * each
    for program in manifests.programs:
        if program.module == MIGRATIONS:
            database = _database(manifests, program)
            needed[database] = needed.get(database, 0) + JOB_CONNECTIONS
    if not manifests.of("Cluster"):
        # Nothing says that the databases are not on one server.
        needed = {"the server of all databases": sum(needed.values())}
    for database, connections in needed.items():
        most = _connections_max(manifests, database)
        if connections + RESERVED > most:
            yield (
                f"{database} has {most} connections; {connections} may be needed, and {RESERVED}"
                " more are reserved"
            )


def scaling_targets(manifests: Manifests) -> Iterator[str]:
    """What scales names a Deployment that exists and that nothing else scales, never to zero."""
    scaled: dict[str, str] = {}
    for one in manifests.of("HorizontalPodAutoscaler", "ScaledObject"):
        name = one["spec"]["scaleTargetRef"]["name"]
        target = manifests.named("Deployment", name)
        if target is None:
            yield f"{title_of(one)} scales Deployment {name}, which does not exist"
            continue
        if name in scaled:
            yield f"{title_of(one)} and {scaled[name]} scale the same Deployment"
        scaled[name] = title_of(one)
        if "replicas" in target["spec"]:
            yield f"Deployment {name} sets replicas, which {title_of(one)} does as well"
    for workload in manifests.workloads:
        if workload.kind == "Deployment" and manifests.replicas_min(workload) < 1:
            yield f"{workload.title} may have no pod at all"


def nodes_can_be_drained(manifests: Manifests) -> Iterator[str]:
    """Every budget lets one pod go, and no pod has two budgets, which would block its eviction."""
    for pod in manifests.pods:
        spec = pod.source["spec"]
        if pod.source["kind"] == "Cluster":
            # CloudNativePG makes the budgets of its pods itself.
            if spec["instances"] == 1 and spec.get("enablePDB", True):
                yield f"{pod.title} has one instance and a budget: its node cannot be drained"
        elif pod.source["kind"] != "Job":
            yield from _budget_problems(manifests, pod)
    for one in manifests.of("PodDisruptionBudget"):
        if not any(selects(one["spec"]["selector"], pod.labels) for pod in manifests.pods):
            yield f"{title_of(one)} selects no pod"
        if one["spec"].get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
            yield f"{title_of(one)} keeps pods that are not ready: a broken one blocks its node"


def rollouts(manifests: Manifests) -> Iterator[str]:
    """A rollout never takes a pod away before its successor is ready."""
    for program, _ in configs(manifests):
        strategy = program.workload.document["spec"].get("strategy", {}).get("rollingUpdate", {})
        if strategy.get("maxUnavailable") != 0 or not strategy.get("maxSurge"):
            yield f"{program.title} has fewer pods during a rollout: set maxUnavailable: 0"


def spreading(manifests: Manifests) -> Iterator[str]:
    """Replicas stand in different zones and on different nodes, where there are several."""
    for program, _ in configs(manifests):
        keys = {}
        for one in program.workload.pod.get("topologySpreadConstraints", []):
            if selects(one.get("labelSelector", {}), program.workload.labels):
                keys[one["topologyKey"]] = one["whenUnsatisfiable"]
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname"):
            if keys.get(key) != "ScheduleAnyway":
                yield f"{program.title} is not spread by {key}, or cannot start without room there"


def shared_rate_limits(manifests: Manifests) -> Iterator[str]:
    """Where several gateways run, they count requests together, in Redis."""
    for program, _ in configs(manifests):
        if program.module != "gateway" or manifests.replicas_max(program.workload) < 2:  # noqa: PLR2004
            continue
        environment = manifests.environment(program)[0]
        store = environment.get("SIGMA_RATE_LIMIT_STORAGE", "memory")
        if store == "memory":
            yield f"{program.title} has several replicas, which count rate limits each for itself"
        if "SIGMA_RATE_LIMIT" not in environment:
            yield f"{program.title} has no SIGMA_RATE_LIMIT"


def timeouts_of_routes(manifests: Manifests) -> Iterator[str]:
    """A route waits longer than the gateway, so that the API's own answer arrives."""
    for program, config in configs(manifests):
        if program.module != "gateway":
            continue
        needed = getattr(config, "request_timeout_s", 0)
        for one in manifests.of("HTTPRoute"):
            for rule in one["spec"].get("rules", []):
                given = rule.get("timeouts", {}).get("request", "0s")
                found = re.fullmatch(r"(\d+)s", given)
                if found is None or int(found[1]) <= needed:
                    yield f"{title_of(one)} waits {given}; the gateway may take {needed:g} s"


RULES: Final = (
    time_to_stop,
    database_connections,
    scaling_targets,
    nodes_can_be_drained,
    rollouts,
    spreading,
    shared_rate_limits,
    timeouts_of_routes,
)


def _budget_problems(manifests: Manifests, pod: Pod) -> Iterator[str]:
    budgets = [
        one
        for one in manifests.of("PodDisruptionBudget")
        if selects(one["spec"]["selector"], pod.labels)
    ]
    if len(budgets) > 1:
        yield f"{pod.title} has {len(budgets)} budgets; a pod with two cannot be evicted"
    if not budgets and pod.program is not None:
        yield f"{pod.title} has no PodDisruptionBudget"
    for one in budgets:
        if not _lets_go(manifests, one, pod.source):
            yield f"{title_of(one)} lets no pod of {pod.title} go: its node cannot be drained"


def _surge(manifests: Manifests, workload: Workload) -> int:
    strategy = workload.document["spec"].get("strategy", {}).get("rollingUpdate", {})
    surge = str(strategy.get("maxSurge", "25%"))
    if surge.endswith("%"):
        return -(-manifests.replicas_max(workload) * int(surge[:-1]) // 100)
    return int(surge)


def _database(manifests: Manifests, program: Program) -> str:
    reference = manifests.environment(program)[0].get("SIGMA_DATABASE_URL")
    name = reference.secret.removesuffix("-app") if isinstance(reference, SecretKey) else "?"
    return f"Cluster {name}"


def _connections_max(manifests: Manifests, database: str) -> int:
    cluster = manifests.named("Cluster", database.partition(" ")[2])
    if cluster is None:
        return DEFAULT_MAX
    parameters = cluster["spec"].get("postgresql", {}).get("parameters", {})
    return int(parameters.get("max_connections", DEFAULT_MAX))


def _lets_go(manifests: Manifests, budget: Document, owner: Document) -> bool:
    spec = budget["spec"]
    if "maxUnavailable" in spec:
        return str(spec["maxUnavailable"]) not in ("0", "0%")
    kept = spec.get("minAvailable", 0)
    if owner["kind"] == "Deployment":
        workload = next(one for one in manifests.workloads if one.document is owner)
        replicas = manifests.replicas_min(workload)
    else:
        replicas = owner["spec"].get("replicas", owner["spec"].get("instances", 1))
    return str(kept) != "100%" and (isinstance(kept, str) or kept < replicas)

"""Errors in capacity, alerts, scaling and the security of pods."""

from __future__ import annotations

from typing import Final

from deploy.kubernetes.check import capacity, observability, security
from deploy.kubernetes.check.planted import add, drop, planted, put

_POD: Final = "spec template spec"
_CONTAINER: Final = f"{_POD} containers 0"
_GATEWAY: Final = ("Deployment", "gateway")
_JOB: Final = ("Job", "records-service-migrations-0-1-0")
_HPA: Final = "HorizontalPodAutoscaler"
_PDB: Final = "PodDisruptionBudget"
_WORKER: Final = ("ScaledObject", "records-service-worker")
_RULES: Final = ("PrometheusRule", "sigma-pim")
_FIRST_ALERT: Final = "spec groups 0 rules 0"

_CAPACITY: Final = (
    planted(
        capacity.time_to_stop,
        "Deployment gateway may need 43 s to stop and is killed after 42 s",
        put(*_GATEWAY, f"{_POD} terminationGracePeriodSeconds", 42),
    ),
    planted(
        capacity.time_to_stop,
        "Deployment records-service-api may need",
        put("ConfigMap", "records-service", "data SIGMA_DRAIN_SECONDS", "36"),
    ),
    planted(
        capacity.database_connections,
        "Cluster sigma-records has 200 connections",
        put("Cluster", "sigma-records", "spec postgresql parameters max_connections", "200"),
    ),
    planted(
        capacity.database_connections,
        "Cluster sigma-auth has 400 connections",
        put(_HPA, "auth-service-api", "spec maxReplicas", 20),
    ),
    planted(
        capacity.database_connections,
        "the server of all databases has 100 connections",
        put("ConfigMap", "auth-service", "data SIGMA_DATABASE_CONNECTIONS_MAX", "16"),
        overlay="dev",
    ),
    planted(
        capacity.scaling_targets,
        "scales Deployment records-service, which does not exist",
        put(_HPA, "records-service-api", "spec scaleTargetRef name", "records-service"),
    ),
    planted(
        capacity.scaling_targets,
        "scale the same Deployment",
        put(*_WORKER, "spec scaleTargetRef name", "records-service-api"),
    ),
    planted(
        capacity.scaling_targets,
        "Deployment gateway sets replicas",
        put(*_GATEWAY, "spec replicas", 2),
    ),
    planted(
        capacity.scaling_targets,
        "Deployment records-service-worker may have no pod at all",
        put(*_WORKER, "spec minReplicaCount", 0),
    ),
    planted(
        capacity.nodes_can_be_drained,
        "PodDisruptionBudget gateway lets no pod",
        drop(_PDB, "gateway", "spec maxUnavailable"),
        put(_PDB, "gateway", "spec minAvailable", 2),
    ),
    planted(
        capacity.nodes_can_be_drained,
        "Deployment gateway has no PodDisruptionBudget",
        drop(_PDB, "gateway"),
    ),
    planted(
        capacity.nodes_can_be_drained,
        "has 2 budgets",
        put(
            _PDB,
            "gateway",
            "spec selector",
            {"matchLabels": {"app.kubernetes.io/component": "api"}},
        ),
    ),
    planted(
        capacity.nodes_can_be_drained,
        "keeps pods that are not ready",
        drop(_PDB, "sigma-broker", "spec unhealthyPodEvictionPolicy"),
    ),
    planted(
        capacity.nodes_can_be_drained,
        "Cluster sigma-auth has one instance and a budget",
        put("Cluster", "sigma-auth", "spec instances", 1),
    ),
    planted(
        capacity.rollouts,
        "Deployment gateway has fewer pods during a rollout",
        put(*_GATEWAY, "spec strategy rollingUpdate maxUnavailable", 1),
    ),
    planted(
        capacity.spreading,
        "Deployment gateway is not spread by topology.kubernetes.io/zone",
        drop(*_GATEWAY, f"{_POD} topologySpreadConstraints 0"),
    ),
    planted(
        capacity.shared_rate_limits,
        "count rate limits each for itself",
        drop("ConfigMap", "gateway", "data SIGMA_RATE_LIMIT_STORAGE"),
    ),
    planted(
        capacity.timeouts_of_routes,
        "HTTPRoute gateway waits 30s",
        put("HTTPRoute", "gateway", "spec rules 0 timeouts request", "30s"),
    ),
)

_OBSERVABILITY: Final = (
    planted(
        observability.known_metrics,
        "asks for sigma_outbox_age_seconds, which nothing measures",
        put(*_RULES, f"{_FIRST_ALERT} expr", "max by (job) (sigma_outbox_age_seconds) > 60"),
    ),
    planted(
        observability.known_metrics,
        "groups by queues, which is no label of sigma_dead_letters",
        put(*_RULES, f"{_FIRST_ALERT} expr", "max by (queues) (sigma_dead_letters) > 0"),
    ),
    planted(
        observability.known_metrics,
        "dashboard overview.json asks for sigma_http_request",
        add(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "board", "labels": {"grafana_dashboard": "1"}},
                "data": {"overview.json": '{"expr": "rate(sigma_http_request[5m])"}'},
            }
        ),
    ),
    planted(
        observability.known_metrics,
        "asks for the label code, which sigma_http_requests_total does not have",
        put(
            *_RULES, f"{_FIRST_ALERT} expr", 'rate(sigma_http_requests_total{code=~"5.."}[5m]) > 1'
        ),
    ),
    planted(
        observability.understood_dashboards,
        "promtool, of the dashboards",
        put(
            "ConfigMap",
            "sigma",
            "data events.json",
            '{"expr": "max by (queue sigma_jobs"}',
        ),
    ),
    planted(
        observability.explained_alerts,
        "runbook.md does not say of SigmaNew: Users",
        put(*_RULES, f"{_FIRST_ALERT} alert", "SigmaNew"),
    ),
    planted(
        observability.explained_alerts,
        "runbook.md explains SigmaEventsNotPublished, which is no alert",
        put(*_RULES, f"{_FIRST_ALERT} alert", "SigmaNew"),
    ),
    planted(
        observability.explained_alerts,
        "SigmaEventsNotPublished does not lead to its paragraph in runbook.md",
        put(*_RULES, f"{_FIRST_ALERT} annotations runbook_url", "docs/runbook.md"),
    ),
    planted(
        observability.documented_alerts,
        "docs/operations.md has no alert sigma_bus_up == 1 for 1m",
        put(*_RULES, f"{_FIRST_ALERT} expr", "sigma_bus_up == 1"),
    ),
    planted(
        observability.tested_alerts,
        "SigmaNew has no test in which it fires",
        put(*_RULES, f"{_FIRST_ALERT} alert", "SigmaNew"),
    ),
    planted(
        observability.passing_alerts,
        "promtool test rules",
        put(*_RULES, f"{_FIRST_ALERT} expr", "max by (job) (sigma_outbox_oldest_age_seconds) > 61"),
    ),
    planted(
        observability.passing_alerts,
        "promtool check rules",
        put(*_RULES, f"{_FIRST_ALERT} expr", "max by job (sigma_outbox_oldest_age_seconds)"),
    ),
    planted(
        observability.monitored_pods,
        "Deployment auth-service-worker is not measured",
        put("PodMonitor", "sigma-pim", "spec selector matchExpressions 0 values", ["api"]),
    ),
    planted(
        observability.monitored_pods,
        "at a port that it has not",
        put("PodMonitor", "sigma-pim", "spec podMetricsEndpoints 0 port", "metrics"),
    ),
    planted(
        observability.monitored_pods,
        "for a path that it has not",
        put("PodMonitor", "sigma-pim", "spec podMetricsEndpoints 0 path", "/metric"),
    ),
    planted(
        observability.known_queues,
        "looks at the queue records, which is not in the topology",
        put(*_WORKER, "spec triggers 0 metadata queueName", "records"),
    ),
    planted(
        observability.known_queues,
        "looks at the queue records_service.dead, which is not in the topology",
        put(*_WORKER, "spec triggers 0 metadata queueName", "records_service.dead"),
    ),
    planted(
        observability.known_queues,
        "by the queue auth_service of another service",
        put(*_WORKER, "spec triggers 0 metadata queueName", "auth_service"),
    ),
    planted(
        observability.known_queues,
        "no worker is scaled by the queue records_service.jobs",
        drop(*_WORKER, "spec triggers 1"),
    ),
    planted(
        observability.known_queues,
        "does not count the messages that consumers hold",
        put(*_WORKER, "spec triggers 0 metadata protocol", "amqp"),
    ),
)

_SECURITY: Final = (
    planted(
        security.restricted_namespace,
        "does not enforce the level restricted",
        put(
            "Namespace",
            "sigma-pim",
            "metadata labels pod-security.kubernetes.io/enforce",
            "baseline",
        ),
    ),
    *(
        planted(security.restricted_pods, says, edit)
        for says, edit in (
            ("uses hostNetwork", put(*_GATEWAY, f"{_POD} hostNetwork", True)),
            (
                "mounts a volume of the kind hostPath",
                put(*_GATEWAY, f"{_POD} volumes 0", {"name": "tmp", "hostPath": {"path": "/"}}),
            ),
            ("sets sysctls", put(*_GATEWAY, f"{_POD} securityContext sysctls", [{"name": "a"}])),
            (
                "may gain privileges",
                drop(*_JOB, f"{_CONTAINER} securityContext allowPrivilegeEscalation"),
            ),
            (
                "is privileged",
                put(*_JOB, f"{_CONTAINER} securityContext privileged", True),
            ),
            (
                "keeps capabilities",
                put(*_JOB, f"{_CONTAINER} securityContext capabilities add", ["NET_ADMIN"]),
            ),
            ("may run as root", put(*_JOB, f"{_POD} securityContext runAsUser", 0)),
            ("has no seccomp profile", drop(*_JOB, f"{_POD} securityContext seccompProfile")),
            (
                "uses a port of its node",
                put(*_GATEWAY, f"{_CONTAINER} ports 0 hostPort", 8080),
            ),
        )
    ),
    planted(
        security.closed_pods,
        "Deployment gateway can write to its image",
        drop(*_GATEWAY, f"{_CONTAINER} securityContext readOnlyRootFilesystem"),
    ),
    planted(
        security.closed_pods,
        "has a token of Kubernetes",
        drop(*_JOB, f"{_POD} automountServiceAccountToken"),
    ),
    planted(
        security.closed_pods,
        "is given variables of every Service",
        drop(*_GATEWAY, f"{_POD} enableServiceLinks"),
    ),
    planted(
        security.bounded_pods,
        "has a limit of CPU",
        put(*_GATEWAY, f"{_CONTAINER} resources limits cpu", "1"),
    ),
    planted(
        security.bounded_pods,
        "has no limit of memory",
        drop(*_GATEWAY, f"{_CONTAINER} resources limits memory"),
    ),
    planted(
        security.bounded_pods,
        "requests no cpu",
        drop(*_GATEWAY, f"{_CONTAINER} resources requests cpu"),
    ),
    planted(
        security.fixed_images,
        "runs whatever valkey is at the moment",
        put("Deployment", "rate-limits", f"{_CONTAINER} image", "docker.io/valkey/valkey"),
    ),
    planted(
        security.watched_pods,
        "Deployment rate-limits has no livenessProbe",
        drop("Deployment", "rate-limits", f"{_CONTAINER} livenessProbe"),
    ),
    planted(
        security.nothing_exposed,
        "Service gateway is reachable from outside",
        put("Service", "gateway", "spec type", "LoadBalancer"),
    ),
    planted(
        security.nothing_exposed,
        "RoleBinding admin gives rights",
        add({"kind": "RoleBinding", "metadata": {"name": "admin"}}),
    ),
)

ERRORS: Final = (*_CAPACITY, *_OBSERVABILITY, *_SECURITY)

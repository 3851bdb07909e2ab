"""Errors in network policies."""

from __future__ import annotations

from typing import Any, Final

from deploy.kubernetes.check import network
from deploy.kubernetes.check.planted import add, drop, planted, put

_POLICY: Final = "NetworkPolicy"
_NAME: Final = "app.kubernetes.io/name"
_GATEWAY_TO_AUTH: Final = "spec egress 0 to 0 podSelector matchLabels"


def _policy(name: str, pods: dict[str, str], **spec: Any) -> dict[str, Any]:
    types = [one.capitalize() for one in spec]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": _POLICY,
        "metadata": {"name": name, "namespace": "sigma-pim"},
        "spec": {"podSelector": {"matchLabels": pods}, "policyTypes": types, **spec},
    }


def _to(port: int, **labels: str) -> dict[str, Any]:
    peer = {"podSelector": {"matchLabels": {_NAME: labels["name"]}}}
    return {"to": [peer], "ports": [{"protocol": "TCP", "port": port}]}


def _from(port: int, **labels: str) -> dict[str, Any]:
    return {"from": _to(port, **labels)["to"], "ports": [{"protocol": "TCP", "port": port}]}


ERRORS: Final = (
    planted(network.closed_by_default, "there is no policy", drop(_POLICY, "default-deny")),
    planted(
        network.closed_by_default,
        "leaves Egress open",
        put(_POLICY, "default-deny", "spec policyTypes", ["Ingress"]),
    ),
    planted(
        network.selectors_match,
        "NetworkPolicy gateway names pods that do not exist",
        put(_POLICY, "gateway", f"spec podSelector matchLabels {_NAME}", "gate"),
    ),
    planted(
        network.selectors_match,
        "names pods that do not exist",
        put(_POLICY, "gateway", f"{_GATEWAY_TO_AUTH} {_NAME}", "auth"),
    ),
    planted(
        network.selectors_match,
        "names pods that do not exist",
        put(_POLICY, "sigma-auth", "spec podSelector matchLabels cnpg.io/cluster", "sigma-user"),
    ),
    planted(
        network.selectors_match,
        "names an unknown namespace",
        put(
            _POLICY,
            "gateway",
            "spec ingress 1 from 0 namespaceSelector matchLabels",
            {"sigma-pim-metric": "allowed"},
        ),
    ),
    planted(
        network.ports_exist,
        "opens port 8089",
        put(_POLICY, "auth-service", "spec ingress 0 ports 0 port", 8089),
    ),
    planted(
        network.ports_exist,
        "opens port 8089",
        put(_POLICY, "gateway", "spec egress 0 ports 0 port", 8089),
    ),
    planted(
        network.both_sides,
        "Deployment auth-service-api:8081 lets Deployment gateway in, which may not call it",
        drop(_POLICY, "gateway", "spec egress 0"),
    ),
    planted(
        network.both_sides,
        "Deployment gateway may call Deployment auth-service-api:8081, which lets nobody in",
        drop(_POLICY, "auth-service", "spec ingress 0"),
    ),
    planted(
        network.both_sides,
        "Job records-service-migrations-0-1-0 may call Cluster sigma-records:5432",
        put(
            _POLICY,
            "sigma-records",
            "spec ingress 0 from 0 podSelector matchLabels app.kubernetes.io/component",
            "api",
        ),
    ),
    planted(
        network.arrows,
        "gateway may not call auth_service",
        drop(_POLICY, "gateway", "spec egress 0"),
        drop(_POLICY, "auth-service", "spec ingress 0"),
    ),
    planted(
        network.arrows,
        "auth_service may call gateway",
        add(_policy("back", {_NAME: "auth-service"}, egress=[_to(8080, name="gateway")])),
        add(_policy("in", {_NAME: "gateway"}, ingress=[_from(8080, name="auth-service")])),
    ),
    planted(
        network.own_servers,
        "Deployment auth-service-api may call Cluster sigma-records:5432",
        add(
            _policy(
                "out",
                {_NAME: "auth-service"},
                egress=[
                    {
                        "to": [
                            {"podSelector": {"matchLabels": {"cnpg.io/cluster": "sigma-records"}}}
                        ],
                        "ports": [{"protocol": "TCP", "port": 5432}],
                    }
                ],
            )
        ),
        add(
            _policy(
                "in",
                {"cnpg.io/cluster": "sigma-records"},
                ingress=[_from(5432, name="auth-service")],
            )
        ),
    ),
    planted(
        network.own_servers,
        "Deployment gateway may not call Deployment rate-limits:6379",
        drop(_POLICY, "gateway-rate-limits"),
        drop(_POLICY, "rate-limits"),
    ),
    planted(
        network.own_servers,
        "Deployment gateway may call outside the cluster [5432, 5672], not [5672]",
        drop(_POLICY, "outside-database", "spec podSelector matchExpressions"),
        overlay="dev",
    ),
    planted(
        network.the_way_in,
        "Deployment gateway lets proxies in at []",
        drop(_POLICY, "gateway", "spec ingress 0"),
    ),
    planted(
        network.the_way_in,
        "Deployment auth-service-worker lets Prometheus in at []",
        put(_POLICY, "auth-service", "spec podSelector matchExpressions 0 values", ["api"]),
    ),
    planted(
        network.the_way_out,
        "Deployment workflow-service-worker may call 169.254.169.254, which is not public",
        drop(_POLICY, "workflow-service", "spec egress 2 to 0 ipBlock except"),
    ),
    planted(
        network.the_way_out,
        "Deployment workflow-service-worker may not call addresses that users name",
        drop(_POLICY, "workflow-service", "spec egress 2"),
    ),
    planted(network.names_are_resolved, "cannot ask DNS over UDP", drop(_POLICY, "dns")),
    planted(
        network.names_are_resolved,
        "cannot ask DNS over TCP",
        drop(_POLICY, "dns", "spec egress 0 ports 1"),
    ),
)

"""Rules: network policies agree on both sides and allow what ARCHITECTURE.md says, nothing more.

A connection needs an egress rule of the pod that opens it and an ingress rule of the pod that it
leads to. A pod without any policy for a direction may do everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from itertools import chain
from typing import Any, Final

from deploy.kubernetes.check.manifests import (
    SERVICES,
    Manifests,
    Pod,
    SecretKey,
    has_database,
    selects,
    title_of,
)
from deploy.kubernetes.check.rendering import ROOT, Document

INGRESS: Final[Mapping[str, Any]] = {"matchLabels": {"sigma-pim-ingress": "allowed"}}
METRICS: Final[Mapping[str, Any]] = {"matchLabels": {"sigma-pim-metrics": "allowed"}}
_DNS: Final[Mapping[str, Any]] = {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}
_NAMESPACES: Final = (
    INGRESS,
    METRICS,
    _DNS,
    {"matchLabels": {"kubernetes.io/metadata.name": "cnpg-system"}},
    {"matchLabels": {"kubernetes.io/metadata.name": "keda"}},
)
"""Other namespaces that may be named: labels that deploy/kubernetes/README.md asks for, and the
names under which DNS and operators are usually installed."""
_ANYWHERE: Final = frozenset((443, 6443))
"""Operators' pods ask the Kubernetes API, which no selector names."""
_INSIDE: Final = (
    "10.0.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.0.1",
    "fd00::1",
)
_DIRECTIONS: Final = ("Ingress", "Egress")


def closed_by_default(manifests: Manifests) -> Iterator[str]:
    """Nothing may connect in either direction without a rule: there is a default-deny policy."""
    for one in manifests.of("NetworkPolicy"):
        spec = one["spec"]
        if not spec["podSelector"] and not spec.get("ingress") and not spec.get("egress"):
            for direction in set(_DIRECTIONS) - set(spec["policyTypes"]):
                yield f"{title_of(one)} leaves {direction} open"
            return
    yield "there is no policy that selects all pods and allows nothing"


def selectors_match(manifests: Manifests) -> Iterator[str]:
    """Every selector of a policy selects a pod, and every namespace is one that is known."""
    for one in manifests.of("NetworkPolicy"):
        for selector in (one["spec"]["podSelector"], *_pod_selectors(one)):
            if not any(selects(selector, pod.labels) for pod in manifests.pods):
                yield f"{title_of(one)} names pods that do not exist: {_short(selector)}"
        for peer in chain.from_iterable(map(_peers, _rules(one))):
            namespace = peer.get("namespaceSelector")
            if namespace is not None and namespace not in _NAMESPACES:
                yield f"{title_of(one)} names an unknown namespace: {_short(namespace)}"


def ports_exist(manifests: Manifests) -> Iterator[str]:
    """Every port of a rule is one of the pods that the rule leads to."""
    for one in manifests.of("NetworkPolicy"):
        spec = one["spec"]
        for rule in spec.get("ingress", []):
            targets = [pod for pod in manifests.pods if selects(spec["podSelector"], pod.labels)]
            yield from _unknown_ports(one, rule, targets)
        for rule in spec.get("egress", []):
            selectors = [
                peer["podSelector"]
                for peer in rule.get("to", [])
                if "podSelector" in peer and "namespaceSelector" not in peer
            ]
            targets = [
                pod for pod in manifests.pods if any(selects(one, pod.labels) for one in selectors)
            ]
            if selectors:
                yield from _unknown_ports(one, rule, targets)


def both_sides(manifests: Manifests) -> Iterator[str]:
    """Every egress rule has its ingress rule, and the other way round."""
    for source in manifests.pods:
        for target in manifests.pods:
            for port in sorted(target.ports.values()):
                out = _allows(manifests, "Egress", source, target, port)
                into = _allows(manifests, "Ingress", target, source, port)
                if out and not into:
                    yield f"{source.title} may call {target.title}:{port}, which lets nobody in"
                if into and not out:
                    yield f"{target.title}:{port} lets {source.title} in, which may not call it"


def arrows(manifests: Manifests) -> Iterator[str]:
    """Services may call each other as the table in ARCHITECTURE.md says."""
    expected = documented_arrows((ROOT / "ARCHITECTURE.md").read_text())
    for source, target in ((one, other) for one in SERVICES for other in SERVICES if one != other):
        allowed = [
            _connects(manifests, pod, other, other.ports["http"])
            for pod in _processes(manifests, source)
            for other in _processes(manifests, target)
            if "http" in other.ports
        ]
        documented = (source, target) in expected
        if documented and not all(allowed):
            yield f"{source} may not call {target}, but ARCHITECTURE.md says that it does"
        if not documented and any(allowed):
            yield f"{source} may call {target}, but ARCHITECTURE.md does not say so"


def own_servers(manifests: Manifests) -> Iterator[str]:
    """Pods reach their own database, the broker and the store of rate limits, and no other's."""
    outside = not manifests.of("Cluster")
    for source in manifests.pods:
        if source.program is None:
            continue
        wanted = set(_wanted_servers(manifests, source))
        for target, ports in _servers(manifests):
            for port in ports:
                allowed = _connects(manifests, source, target, port)
                if allowed != (target.title in wanted):
                    verb = "may" if allowed else "may not"
                    yield f"{source.title} {verb} call {target.title}:{port}"
        if outside:
            yield from _outside_servers(manifests, source)


def the_way_in(manifests: Manifests) -> Iterator[str]:
    """From other namespaces, proxies reach the gateway only, and Prometheus every process."""
    for pod in manifests.pods:
        if pod.program is None or not pod.program.serves:
            continue
        entered = set(_ports_open_to(manifests, pod, INGRESS))
        expected = {pod.ports["http"]} if pod.program.module == "gateway" else set()
        if entered != expected:
            yield f"{pod.title} lets proxies in at {sorted(entered)}, not at {sorted(expected)}"
        measured = set(_ports_open_to(manifests, pod, METRICS))
        if measured != {pod.ports.get("internal")}:
            yield f"{pod.title} lets Prometheus in at {sorted(measured)}, not at its internal port"


def the_way_out(manifests: Manifests) -> Iterator[str]:
    """Only workflow_service may call addresses outside that users name, and only public ones."""
    for pod in manifests.pods:
        if pod.program is None:
            continue
        blocks = [
            peer["ipBlock"]
            for policy in _policies(manifests, "Egress", pod)
            for rule in policy["spec"].get("egress", [])
            for peer in rule.get("to", [])
            if "ipBlock" in peer
        ]
        sends = pod.program.serves and pod.program.module == "workflow_service"
        if bool(blocks) != sends:
            yield f"{pod.title} {'may' if blocks else 'may not'} call addresses that users name"
        for address in _INSIDE:
            if any(_holds(block, address) for block in blocks):
                yield f"{pod.title} may call {address}, which is not public"


def names_are_resolved(manifests: Manifests) -> Iterator[str]:
    """Every pod may ask the cluster's DNS, over UDP and over TCP."""
    for pod in manifests.pods:
        asked = {
            port["protocol"]
            for policy in _policies(manifests, "Egress", pod)
            for rule in policy["spec"].get("egress", [])
            if any(peer.get("namespaceSelector") == _DNS for peer in rule.get("to", []))
            for port in rule.get("ports", [])
            if port["port"] == 53  # noqa: PLR2004 - the port of DNS
        }
        for protocol in sorted({"UDP", "TCP"} - asked):
            yield f"{pod.title} cannot ask DNS over {protocol}"


RULES: Final = (
    closed_by_default,
    selectors_match,
    ports_exist,
    both_sides,
    arrows,
    own_servers,
    the_way_in,
    the_way_out,
    names_are_resolved,
)


def documented_arrows(page: str) -> set[tuple[str, str]]:
    """Who calls whom over HTTP, by the table of services in ARCHITECTURE.md."""
    found = set()
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        source = cells[0].strip("`")
        if source in SERVICES and len(cells) == 4:  # noqa: PLR2004 - the columns of the table
            named = re.findall(r"\b[a-z]+_service\b", cells[3])
            if "every service" in cells[3]:
                named = [one for one in SERVICES if one != source]
            found |= {(source, target) for target in named}
    return found


def _rules(policy: Document) -> list[Document]:
    spec = policy["spec"]
    return [*(spec.get("ingress") or []), *(spec.get("egress") or [])]


def _peers(rule: Document) -> list[Document]:
    return [*(rule.get("from") or []), *(rule.get("to") or [])]


def _pod_selectors(policy: Document) -> Iterator[Document]:
    for peer in chain.from_iterable(map(_peers, _rules(policy))):
        if "podSelector" in peer and "namespaceSelector" not in peer:
            yield peer["podSelector"]


def _unknown_ports(policy: Document, rule: Document, targets: Iterable[Pod]) -> Iterator[str]:
    known = {port for pod in targets for port in pod.ports.values()}
    for port in rule.get("ports", []):
        if port["port"] not in known:
            yield f"{title_of(policy)} opens port {port['port']}, which no pod there has"


def _policies(manifests: Manifests, direction: str, pod: Pod) -> list[Document]:
    return [
        one
        for one in manifests.of("NetworkPolicy")
        if direction in one["spec"]["policyTypes"]
        and selects(one["spec"]["podSelector"], pod.labels)
    ]


def _allows(manifests: Manifests, direction: str, pod: Pod, other: Pod, port: int) -> bool:
    """Whether the policies of `pod` allow a connection with `other`, to this port of the target."""
    policies = _policies(manifests, direction, pod)
    key, peers = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    return not policies or any(
        _has_port(rule, port) and _has_peer(rule.get(peers), other, port)
        for policy in policies
        for rule in policy["spec"].get(key) or []
    )


def _connects(manifests: Manifests, source: Pod, target: Pod, port: int) -> bool:
    return _allows(manifests, "Egress", source, target, port) and _allows(
        manifests, "Ingress", target, source, port
    )


def _has_port(rule: Document, port: int) -> bool:
    return not rule.get("ports") or any(one["port"] == port for one in rule["ports"])


def _has_peer(peers: list[Document] | None, other: Pod, port: int) -> bool:
    if not peers:
        return port not in _ANYWHERE
    return any(
        "namespaceSelector" not in peer
        and "podSelector" in peer
        and selects(peer["podSelector"], other.labels)
        for peer in peers
    )


def _processes(manifests: Manifests, service: str) -> list[Pod]:
    return [one for one in manifests.pods if one.program and one.program.module == service]


def _servers(manifests: Manifests) -> Iterator[tuple[Pod, tuple[int, ...]]]:
    """Databases, brokers and others that are not ours, with the ports of their clients."""
    for pod in manifests.pods:
        if pod.program is None:
            clients = [
                pod.ports[one] for one in ("postgresql", "amqp", "redis") if one in pod.ports
            ]
            yield pod, tuple(clients)


def _wanted_servers(manifests: Manifests, source: Pod) -> Iterator[str]:
    assert source.program is not None
    environment = manifests.environment(source.program)[0]
    for value in environment.values():
        if isinstance(value, SecretKey):
            for suffix, kind in (("-app", "Cluster"), ("-default-user", "RabbitmqCluster")):
                if value.secret.endswith(suffix):
                    yield f"{kind} {value.secret.removesuffix(suffix)}"
    store = environment.get("SIGMA_RATE_LIMIT_STORAGE")
    if isinstance(store, str) and "://" in store:
        host = store.partition("://")[2].rpartition("@")[2].partition(":")[0]
        service = manifests.named("Service", host)
        if service is not None:
            selector = {"matchLabels": service["spec"]["selector"]}
            yield from (pod.title for pod in manifests.pods if selects(selector, pod.labels))


def _outside_servers(manifests: Manifests, source: Pod) -> Iterator[str]:
    program = source.program
    assert program is not None
    service = program.service
    wanted = set()
    if service is not None and has_database(service):
        wanted.add(5432)
    if program.serves:
        wanted.add(5672)
    anywhere = {
        port["port"]
        for policy in _policies(manifests, "Egress", source)
        for rule in policy["spec"].get("egress", [])
        if not rule.get("to")
        for port in rule.get("ports", [])
    }
    if anywhere != wanted:
        may, needs = sorted(anywhere), sorted(wanted)
        yield f"{source.title} may call outside the cluster {may}, not {needs}"


def _holds(block: Document, address: str) -> bool:
    asked = ip_address(address)
    return asked in ip_network(block["cidr"]) and not any(
        asked in ip_network(one) for one in block.get("except", [])
    )


def _ports_open_to(manifests: Manifests, pod: Pod, namespace: Mapping[str, Any]) -> Iterator[int]:
    for policy in _policies(manifests, "Ingress", pod):
        for rule in policy["spec"].get("ingress") or []:
            if any(peer.get("namespaceSelector") == namespace for peer in rule.get("from", [])):
                yield from (port["port"] for port in rule.get("ports", []))


def _short(selector: Document) -> str:
    return str(selector)[:100]

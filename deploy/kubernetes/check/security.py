"""Rules: Pod Security `restricted`, and what else every pod must have.

Written here and not taken from a scanner such as checkov, which would bring a hundred packages for
these rules and does not know the level `restricted` as such. The rules are those of
https://kubernetes.io/docs/concepts/security/pod-security-standards/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from deploy.kubernetes.check.manifests import Manifests, title_of
from deploy.kubernetes.check.rendering import Document

EXCEPTIONS: Final[Mapping[tuple[str, str], str]] = {
    ("has no disruption budget", "Deployment rate-limits"): (
        "one replica, which must be able to leave its node; counting then begins again"
    ),
}
"""What a rule says of a workload and is accepted, with the reason."""

_VOLUMES: Final = frozenset(
    (
        *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
        *("persistentVolumeClaim", "projected", "secret"),
    )
)
_LEVEL: Final = "pod-security.kubernetes.io/enforce"
_NO_ACCESS: Final = ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")


def restricted_namespace(manifests: Manifests) -> Iterator[str]:
    """Kubernetes itself refuses pods that are not `restricted` in our namespace."""
    for one in manifests.of("Namespace"):
        if one["metadata"].get("labels", {}).get(_LEVEL) != "restricted":
            yield f"{title_of(one)} does not enforce the level restricted"
    if not manifests.of("Namespace"):
        yield "there is no namespace"


def restricted_pods(manifests: Manifests) -> Iterator[str]:
    """Every pod is `restricted`: no root, no privileges, no access to its node."""
    for workload in manifests.workloads:
        for problem in _not_restricted(workload.pod):
            yield f"{workload.title} {problem}"
        for container in workload.containers:
            for problem in _not_restricted_container(workload.pod, container):
                yield f"{workload.title} {problem}"


def closed_pods(manifests: Manifests) -> Iterator[str]:
    """Every pod has a read-only root, no token of Kubernetes and no addresses of other Services."""
    for workload in manifests.workloads:
        for container in workload.containers:
            if not container.get("securityContext", {}).get("readOnlyRootFilesystem"):
                yield f"{workload.title} can write to its image"
        if workload.pod.get("automountServiceAccountToken") is not False:
            yield f"{workload.title} has a token of Kubernetes"
        if workload.pod.get("enableServiceLinks") is not False:
            yield f"{workload.title} is given variables of every Service"


def bounded_pods(manifests: Manifests) -> Iterator[str]:
    """Every container requests CPU and memory and has a limit of memory, but none of CPU.

    A limit of CPU stops a process for the rest of a period of 100 ms, which makes answers slow
    while the node has CPU to spare.
    """
    for workload in manifests.workloads:
        for container in workload.containers:
            requests = container.get("resources", {}).get("requests", {})
            limits = container.get("resources", {}).get("limits", {})
            for name in {"cpu", "memory"} - set(requests):
                yield f"{workload.title} requests no {name}"
            if "memory" not in limits:
                yield f"{workload.title} has no limit of memory"
            if "cpu" in limits:
                yield f"{workload.title} has a limit of CPU"


def fixed_images(manifests: Manifests) -> Iterator[str]:
    """Every image has a tag, and not `latest`."""
    for workload in manifests.workloads:
        for container in workload.containers:
            name, _, tag = container["image"].rpartition("/")[2].partition(":")
            if tag in ("", "latest"):
                yield f"{workload.title} runs whatever {name} is at the moment"


def watched_pods(manifests: Manifests) -> Iterator[str]:
    """Every Deployment has the three probes and a disruption budget."""
    for workload in manifests.workloads:
        if workload.kind != "Deployment":
            continue
        for container in workload.containers:
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                if probe not in container:
                    yield f"{workload.title} has no {probe}"
        budget = manifests.named("PodDisruptionBudget", workload.name)
        if budget is None:
            yield f"{workload.title} has no disruption budget"


def nothing_exposed(manifests: Manifests) -> Iterator[str]:
    """No Service is reachable from outside the cluster, and nobody is given rights in it."""
    for one in manifests.of("Service"):
        if one["spec"].get("type", "ClusterIP") != "ClusterIP" or one["spec"].get("externalIPs"):
            yield f"{title_of(one)} is reachable from outside the cluster"
    for one in manifests.of(*_NO_ACCESS):
        yield f"{title_of(one)} gives rights in Kubernetes"


RULES: Final = (
    restricted_namespace,
    restricted_pods,
    closed_pods,
    bounded_pods,
    fixed_images,
    watched_pods,
    nothing_exposed,
)


def without_exceptions(problems: list[str]) -> tuple[list[str], set[tuple[str, str]]]:
    """The problems that are not accepted, and the exceptions that were used."""
    used = {
        (what, workload)
        for what, workload in EXCEPTIONS
        if any(f"{workload} {what}" in problem for problem in problems)
    }
    left = [
        problem
        for problem in problems
        if not any(f"{workload} {what}" in problem for what, workload in used)
    ]
    return left, used


def _not_restricted(pod: Document) -> Iterator[str]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield f"uses {name}"
    for volume in pod.get("volumes", []):
        for kind in set(volume) - {"name"} - _VOLUMES:
            yield f"mounts a volume of the kind {kind}"
    if pod.get("securityContext", {}).get("sysctls"):
        yield "sets sysctls"


def _not_restricted_container(pod: Document, container: Document) -> Iterator[str]:
    own = container.get("securityContext", {})
    both = {**pod.get("securityContext", {}), **own}
    if own.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges: set allowPrivilegeEscalation: false"
    if own.get("privileged"):
        yield "is privileged"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []) or capabilities.get("add"):
        yield "keeps capabilities"
    if both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0:
        yield "may run as root"
    if both.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "has no seccomp profile"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "uses a port of its node"

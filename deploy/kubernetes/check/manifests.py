"""The rendered documents of one overlay, with the relations that rules ask for.

Programs are our containers: those whose image is `sigma-pim`. Pods include those that operators
make of a custom resource; of those only labels and ports are known.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Final

from deploy.kubernetes.check.recipes import KEYS, made_keys
from deploy.kubernetes.check.rendering import Document
from shared.database.migrations import folder_of
from shared.identity import GATEWAY
from shared.process.config import PREFIX, DatabaseConfig, ServiceConfig

IMAGE: Final = "sigma-pim"
NAMESPACE: Final = "sigma-pim"
MIGRATIONS: Final = "shared.database.migrations"
SERVICES: Final = (GATEWAY, "auth_service", "records_service", "workflow_service")
WITH_DATABASE: Final = SERVICES[1:]
NAME, COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/component"

DATABASE_KEYS: Final = frozenset(("uri", "fqdn-uri", "username", "password", "host", "port"))
"""CloudNativePG writes these, among others, into the Secret `<cluster>-app`."""
BROKER_KEYS: Final = frozenset(("connection_string", "username", "password", "host", "port"))
"""The RabbitMQ operator writes these, among others, into the Secret `<cluster>-default-user`."""

POSTGRES_PORTS: Final = {"postgresql": 5432, "status": 8000, "metrics": 9187}
BROKER_PORTS: Final = {
    "epmd": 4369,
    "amqp": 5672,
    "management": 15672,
    "prometheus": 15692,
    "clustering": 25672,
}


@dataclass(frozen=True)
class SecretKey:
    """A value that a container takes from a Secret."""

    secret: str
    key: str


@dataclass(frozen=True)
class Workload:
    """A Deployment or a Job."""

    document: Document
    kind: str
    name: str
    pod: Document
    labels: Mapping[str, str]

    @property
    def containers(self) -> list[Document]:
        """Those of the pod."""
        return [*self.pod.get("initContainers", []), *self.pod["containers"]]

    @property
    def title(self) -> str:
        """As `Deployment gateway`."""
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Program:
    """A container of ours: `python -m <module> <arguments>`."""

    workload: Workload
    container: Document
    module: str
    arguments: tuple[str, ...]

    @property
    def title(self) -> str:
        """The workload that it is in."""
        return self.workload.title

    @property
    def service(self) -> str | None:
        """The service whose process or migrations it is; None if it is neither."""
        named = self.arguments[0] if self.module == MIGRATIONS and self.arguments else self.module
        return named if named in SERVICES else None

    @property
    def serves(self) -> bool:
        """Whether it is a process of a service, and not a command."""
        return self.module in SERVICES

    @property
    def role(self) -> str:
        """As its arguments say; `all` when they do not."""
        given = dict(zip(self.arguments, self.arguments[1:], strict=False))
        return given.get("--role", "all")

    @property
    def ports(self) -> Mapping[str, int]:
        """Container ports by name."""
        return {
            port.get("name", ""): port["containerPort"] for port in self.container.get("ports", [])
        }


@dataclass(frozen=True)
class Pod:
    """What network policies and monitors see of a pod: labels and ports."""

    title: str
    labels: Mapping[str, str]
    ports: Mapping[str, int]
    program: Program | None = None
    source: Document = field(default_factory=dict)


class Manifests:
    """All documents of an overlay."""

    def __init__(self, overlay: str, documents: Sequence[Document]) -> None:
        self.overlay = overlay
        self.documents = documents

    def of(self, *kinds: str) -> list[Document]:
        """All documents of these kinds."""
        return [one for one in self.documents if one["kind"] in kinds]

    def named(self, kind: str, name: str) -> Document | None:
        """The document of this kind and name."""
        return next((one for one in self.of(kind) if one["metadata"]["name"] == name), None)

    @cached_property
    def workloads(self) -> list[Workload]:
        """All Deployments and Jobs."""
        return [
            Workload(
                one,
                one["kind"],
                one["metadata"]["name"],
                one["spec"]["template"]["spec"],
                one["spec"]["template"]["metadata"].get("labels", {}),
            )
            for one in self.of("Deployment", "Job")
        ]

    @cached_property
    def programs(self) -> list[Program]:
        """All containers of our image."""
        return [
            Program(workload, one, str(arguments[0]), tuple(map(str, arguments[1:])))
            for workload in self.workloads
            for one in workload.containers
            if image_name(one["image"]) == IMAGE and (arguments := one.get("args") or [""])
        ]

    @cached_property
    def pods(self) -> list[Pod]:
        """One for each workload, and for each custom resource whose operator makes pods."""
        programs = {id(one.workload): one for one in self.programs}
        found = []
        for one in self.workloads:
            ports = {
                port.get("name", ""): port["containerPort"]
                for container in one.containers
                for port in container.get("ports", [])
            }
            found.append(Pod(one.title, one.labels, ports, programs.get(id(one)), one.document))
        for resource in self.of("Cluster"):
            labels = {"cnpg.io/cluster": resource["metadata"]["name"]}
            found.append(Pod(title_of(resource), labels, POSTGRES_PORTS, source=resource))
        for resource in self.of("RabbitmqCluster"):
            labels = {NAME: resource["metadata"]["name"], COMPONENT: "rabbitmq"}
            found.append(Pod(title_of(resource), labels, BROKER_PORTS, source=resource))
        return found

    @cached_property
    def secrets(self) -> Mapping[str, frozenset[str]]:
        """The keys of each Secret that will exist."""
        found = {KEYS: frozenset(made_keys())}
        clusters = [one["metadata"]["name"] for one in self.of("Cluster")]
        brokers = [one["metadata"]["name"] for one in self.of("RabbitmqCluster")]
        # Without operators, these are made by hand, under the same names.
        for name in clusters or ["sigma-auth", "sigma-records", "sigma-workflow"]:
            found[f"{name}-app"] = DATABASE_KEYS
        for name in brokers or ["sigma-broker"]:
            found[f"{name}-default-user"] = BROKER_KEYS
        return found

    def environment(self, program: Program) -> tuple[dict[str, str | SecretKey], list[str]]:
        """The variables of a container, and what is wrong with where they come from."""
        found: dict[str, str | SecretKey] = {}
        problems = []
        for one in program.container.get("envFrom", []):
            name = one.get("configMapRef", {}).get("name")
            settings = self.named("ConfigMap", name) if name else None
            if settings is None:
                problems.append(
                    f"takes its settings from {name or one}, which is no ConfigMap here"
                )
            else:
                found |= settings.get("data", {})
        for one in program.container.get("env", []):
            source = one.get("valueFrom", {})
            if "value" in one:
                found[one["name"]] = str(one["value"])
            elif "secretKeyRef" in source:
                found[one["name"]] = SecretKey(
                    source["secretKeyRef"]["name"], source["secretKeyRef"]["key"]
                )
            else:
                problems.append(f"takes {one['name']} from neither a value nor a Secret")
        return found, problems

    def replicas_max(self, workload: Workload) -> int:
        """How many pods of it there can be outside of a rollout."""
        scaler = self.scaler_of(workload.name)
        if scaler is None:
            return int(workload.document["spec"].get("replicas", 1))
        spec = scaler["spec"]
        return int(spec.get("maxReplicas", spec.get("maxReplicaCount", 100)))

    def replicas_min(self, workload: Workload) -> int:
        """How few pods of it there can be."""
        scaler = self.scaler_of(workload.name)
        if scaler is None:
            return int(workload.document["spec"].get("replicas", 1))
        spec = scaler["spec"]
        return int(spec.get("minReplicas", spec.get("minReplicaCount", 0)))

    def scaler_of(self, deployment: str) -> Document | None:
        """What decides how many replicas a Deployment has."""
        for one in self.of("HorizontalPodAutoscaler", "ScaledObject"):
            if one["spec"]["scaleTargetRef"]["name"] == deployment:
                return one
        return None


def image_name(image: str) -> str:
    """Without registry and tag."""
    return image.rpartition("/")[2].partition(":")[0].partition("@")[0]


def title_of(document: Document) -> str:
    """As `Service gateway`."""
    return f"{document['kind']} {document['metadata']['name']}"


def selects(selector: Document, labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects these labels; an empty one selects everything."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for one in selector.get("matchExpressions") or []:
        value, operator = labels.get(one["key"]), one["operator"]
        selected = {
            "In": value in one.get("values", []),
            "NotIn": value not in one.get("values", []),
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not selected[operator]:
            return False
    return True


def config_of(service: str) -> type[ServiceConfig]:
    """The class of a service's settings."""
    module = import_module(f"{service}.config")
    kind: type[ServiceConfig] = module.GatewayConfig if service == GATEWAY else module.Config
    return kind


def has_database(service: str) -> bool:
    """Whether the service has one, by its settings."""
    return issubclass(config_of(service), DatabaseConfig)


def migrated_services() -> list[str]:
    """Those that have migrations."""
    return [one for one in SERVICES if has_database(one) and folder_of(one).is_dir()]


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"


@contextmanager
def only_environment(values: Mapping[str, str]) -> Iterator[None]:
    """These variables and none of the caller's, until the block ends."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def sample_of(reference: SecretKey) -> str:
    """A valid value for a key of a Secret; nonsense for a key that no setting could be."""
    if reference.secret.endswith("-app") and reference.key.endswith("uri"):
        return "postgresql://user:password@database:5432/database"
    if reference.secret.endswith("-default-user") and reference.key == "connection_string":
        return "amqp://user:password@broker:5672/"
    return made_keys().get(reference.key, "nonsense") if reference.secret == KEYS else "nonsense"

"""Rules: settings, secrets, ports, addresses and probes are as the code has them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from deploy.kubernetes.check.manifests import (
    MIGRATIONS,
    NAMESPACE,
    SERVICES,
    Manifests,
    Program,
    SecretKey,
    config_of,
    only_environment,
    sample_of,
    selects,
    title_of,
    variable,
)
from shared.database import migrations
from shared.http.probes import READY_WITHIN_S, probes_of
from shared.process.config import PREFIX, ConfigError, ServiceConfig, load
from shared.process.secret_files import file_variables

_PROBES: Final = {
    "startupProbe": "/healthz",
    "readinessProbe": "/readyz",
    "livenessProbe": "/healthz",
}


def known_variables(manifests: Manifests) -> Iterator[str]:
    """Every `SIGMA_` variable is a setting of the program that it is given to."""
    for program in manifests.programs:
        environment, problems = manifests.environment(program)
        yield from (f"{program.title} {problem}" for problem in problems)
        known = _variables_of(program)
        for name in environment:
            if name.startswith(PREFIX) and name not in known:
                yield f"{program.title} is given {name}, which is no setting of {program.module}"


def valid_settings(manifests: Manifests) -> Iterator[str]:
    """Every required setting is there, and every value is valid: the program would start."""
    for program in manifests.programs:
        values = {
            name: sample_of(value) if isinstance(value, SecretKey) else value
            for name, value in manifests.environment(program)[0].items()
        }
        kind = _settings_of(program)
        if kind is None:
            continue
        try:
            with only_environment(values):
                load(kind)
        except ConfigError as error:
            for line in str(error).splitlines()[1:]:
                yield f"{program.title}: {line.strip()}"


def reachable_hosts(manifests: Manifests) -> Iterator[str]:
    """Processes listen on all addresses; the default is loopback."""
    for program, config in configs(manifests):
        if config.host != "0.0.0.0":  # noqa: S104 - a pod has its own network
            yield f"{program.title} listens on {config.host}: set SIGMA_HOST=0.0.0.0"


def secret_keys(manifests: Manifests) -> Iterator[str]:
    """Every Secret that a pod names will exist with that key, and no Secret is in git."""
    for one in manifests.of("Secret"):
        yield f"{title_of(one)} would be in git"
    for program in manifests.programs:
        for name, value in manifests.environment(program)[0].items():
            if isinstance(value, SecretKey):
                if value.secret not in manifests.secrets:
                    yield f"{program.title} takes {name} from {value.secret}, which nothing makes"
                elif value.key not in manifests.secrets[value.secret]:
                    yield f"{program.title} takes {name} from {value.secret}, without {value.key}"
    for one in manifests.of("TriggerAuthentication"):
        for target in one["spec"].get("secretTargetRef", []):
            if target["key"] not in manifests.secrets.get(target["name"], ()):
                yield f"{title_of(one)} names {target['name']} {target['key']}, which nothing makes"


def secrets_stay_secret(manifests: Manifests) -> Iterator[str]:
    """What is a secret for the code is not a value in a manifest."""
    for program in manifests.programs:
        kind = _settings_of(program)
        secret = {variable(name) for name in (file_variables(kind) if kind else ())}
        for name, value in manifests.environment(program)[0].items():
            open_address = name == variable("rate_limit_storage") and "@" not in str(value)
            if name in secret and not isinstance(value, SecretKey) and not open_address:
                yield f"{program.title} has the value of {name} in a manifest"


def container_ports(manifests: Manifests) -> Iterator[str]:
    """Containers declare the ports that their process listens on: `http` and `internal`."""
    for program, config in configs(manifests):
        expected = {"internal": config.internal_port}
        if program.role != "worker":
            expected["http"] = config.port
        if program.ports != expected:
            yield f"{program.title} declares the ports {dict(program.ports)}, but has {expected}"


def service_ports(manifests: Manifests) -> Iterator[str]:
    """A Service leads to pods, and to a port that these declare."""
    for one in manifests.of("Service"):
        spec = one["spec"]
        pods = [
            pod for pod in manifests.pods if selects({"matchLabels": spec["selector"]}, pod.labels)
        ]
        if not pods:
            yield f"{title_of(one)} selects no pod"
        for port in spec["ports"]:
            target = port.get("targetPort", port["port"])
            for pod in pods:
                if target not in pod.ports and target not in pod.ports.values():
                    yield f"{title_of(one)} leads to port {target}, which {pod.title} has not"


def addresses(manifests: Manifests) -> Iterator[str]:
    """`SIGMA_..._URL` of a service leads to the Service of that service, and to its port."""
    for program in manifests.programs:
        for name, value in manifests.environment(program)[0].items():
            meant = f"{name.removeprefix(PREFIX).removesuffix('_URL').lower()}_service"
            if meant in SERVICES and not isinstance(value, SecretKey):
                problem = _leads_to(manifests, value, meant)
                if problem:
                    yield f"{program.title}: {name}={value} {problem}"
    for one in manifests.of("HTTPRoute"):
        for rule in one["spec"].get("rules", []):
            for backend in rule.get("backendRefs", []):
                address = f"http://{backend['name']}:{backend['port']}"
                problem = _leads_to(manifests, address, "gateway")
                if problem:
                    yield f"{title_of(one)} leads to {address}, which {problem}"


def probe_paths(manifests: Manifests) -> Iterator[str]:
    """Probes ask the internal port for a path that it has; liveness depends on nothing else."""
    served = {resource.canonical for resource in probes_of(web.Application()).router.resources()}
    for program in manifests.programs:
        if program.workload.kind == "Job":
            continue
        for kind, path in _PROBES.items():
            probe = program.container.get(kind)
            if probe is None:
                yield f"{program.title} has no {kind}"
                continue
            asked = probe.get("httpGet", {})
            if asked.get("path") != path or path not in served:
                yield f"{program.title}: {kind} asks for {asked.get('path')}, not for {path}"
            port = asked.get("port")
            if port != "internal" and port != program.ports.get("internal"):
                yield f"{program.title}: {kind} asks the port {port}, not the internal one"
        timeout = program.container.get("readinessProbe", {}).get("timeoutSeconds", 1)
        if timeout <= READY_WITHIN_S:
            yield (
                f"{program.title}: readinessProbe waits {timeout} s; /readyz may take"
                f" {READY_WITHIN_S:g} s"
            )


def one_namespace(manifests: Manifests) -> Iterator[str]:
    """Everything is in the namespace `sigma-pim`."""
    for one in manifests.documents:
        if one["kind"] != "Namespace" and one["metadata"].get("namespace") != NAMESPACE:
            yield f"{title_of(one)} is in the namespace {one['metadata'].get('namespace')}"


RULES: Final = (
    known_variables,
    valid_settings,
    reachable_hosts,
    secret_keys,
    secrets_stay_secret,
    container_ports,
    service_ports,
    addresses,
    probe_paths,
    one_namespace,
)


def configs(manifests: Manifests) -> Iterator[tuple[Program, ServiceConfig]]:
    """The processes of services with the settings that they would start with."""
    for program in manifests.programs:
        if not program.serves:
            continue
        values = {
            name: sample_of(value) if isinstance(value, SecretKey) else value
            for name, value in manifests.environment(program)[0].items()
        }
        # Wrong settings are told by `valid_settings`.
        with suppress(ConfigError), only_environment(values):
            yield program, load(config_of(program.module))


def _settings_of(program: Program) -> type[ServiceConfig | migrations.Settings] | None:
    if program.module == MIGRATIONS:
        return migrations.Settings
    return config_of(program.module) if program.serves else None


def _variables_of(program: Program) -> set[str]:
    kind = _settings_of(program)
    if kind is None:
        return set()
    return {*map(variable, kind.model_fields), *file_variables(kind).values()}


def _leads_to(manifests: Manifests, address: str, meant: str) -> str | None:
    url = urlsplit(address)
    host = (url.hostname or "").partition(".")[0]
    service = manifests.named("Service", host)
    if service is None:
        return "leads to no Service"
    if url.port not in [port["port"] for port in service["spec"]["ports"]]:
        return f"leads to a port that Service {host} has not"
    selector = {"matchLabels": service["spec"]["selector"]}
    reached = {
        pod.program.module if pod.program else pod.title
        for pod in manifests.pods
        if selects(selector, pod.labels)
    }
    return None if reached == {meant} else f"leads to {', '.join(sorted(reached))}, not to {meant}"

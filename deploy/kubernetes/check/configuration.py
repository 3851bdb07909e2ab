"""Rules: settings, secrets, ports, probes and programs are as the code has them."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, suppress
from io import StringIO
from itertools import pairwise
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from deploy.kubernetes.check.manifests import (
    COMPONENT,
    MIGRATIONS,
    NAME,
    NAMESPACE,
    SERVICES,
    Manifests,
    Program,
    SecretKey,
    config_of,
    has_database,
    migrated_services,
    only_environment,
    sample_of,
    selects,
    title_of,
    variable,
)
from deploy.kubernetes.check.recipes import documented_order, selected, upgrade_steps
from shared import VERSION
from shared.database import migrations
from shared.http.probes import READY_WITHIN_S, probes_of
from shared.launch import parser as launch_parser
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


def entry_points(manifests: Manifests) -> Iterator[str]:
    """Every container starts a module that exists, with arguments that it accepts."""
    for program in manifests.programs:
        if program.container.get("command"):
            yield f"{program.title} replaces the entry point of the image"
        if not _can_start(program.module):
            yield f"{program.title} starts {program.module}, which is no program"
            continue
        problem = _refused(program)
        if problem:
            yield f"{program.title}: {problem}"


def roles(manifests: Manifests) -> Iterator[str]:
    """The role of a process is its label, and each database has somebody to publish its events."""
    for program in manifests.programs:
        if not program.serves:
            continue
        labels = program.workload.labels
        expected = program.role if has_database(program.module) else "api"
        if labels.get(COMPONENT) != expected:
            yield f"{program.title} has the role {expected} and the label {labels.get(COMPONENT)}"
        if labels.get(NAME) != program.module.replace("_", "-"):
            yield f"{program.title} runs {program.module} and has the label {labels.get(NAME)}"
    for service in SERVICES:
        found = {one.role for one in manifests.programs if one.module == service}
        if not has_database(service):
            found = {"api", "worker"} if found else set()
        if "all" not in found and not {"api", "worker"} <= found:
            yield f"{service} has processes of the roles {sorted(found)}; api and worker are needed"


def migration_jobs(manifests: Manifests) -> Iterator[str]:
    """Every service with migrations has one Job, which waits for its database, and no pod has."""
    jobs = [one for one in manifests.programs if one.workload.kind == "Job"]
    for service in migrated_services():
        found = [one for one in jobs if one.module == MIGRATIONS and one.service == service]
        if len(found) != 1:
            yield f"{service} has migrations and {len(found)} Jobs for them"
        for one in found:
            yield from _job_problems(one)
    for program in manifests.programs:
        if program.workload.kind != "Job" and program.module == MIGRATIONS:
            yield f"{program.title} migrates; a Job should"


def versions(manifests: Manifests) -> Iterator[str]:
    """The tag of the image and the names of the Jobs are those of this version."""
    for program in manifests.programs:
        tag = program.container["image"].rpartition(":")[2]
        if tag != VERSION:
            yield f"{program.title} runs the version {tag}; this is {VERSION}"
        name = program.workload.name
        if program.workload.kind == "Job" and not name.endswith("-" + VERSION.replace(".", "-")):
            yield f"{program.title} does not end with the version {VERSION}"


def one_namespace(manifests: Manifests) -> Iterator[str]:
    """Everything is in the namespace `sigma-pim`."""
    for one in manifests.documents:
        if one["kind"] != "Namespace" and one["metadata"].get("namespace") != NAMESPACE:
            yield f"{title_of(one)} is in the namespace {one['metadata'].get('namespace')}"


def upgrade_order(manifests: Manifests) -> Iterator[str]:
    """The documented commands apply each document once: settings, migrations, services in order."""
    steps = upgrade_steps()
    applied = [one for one in steps if one.command == "apply"]
    for document in manifests.documents:
        count = sum(selected(one.selector, document) for one in applied)
        if count != 1:
            yield f"{title_of(document)} is applied {count} times by the commands of an upgrade"
    order = [
        program.service
        for step in steps
        if step.command == "apply"
        for program in manifests.programs
        if program.serves and selected(step.selector, program.workload.document)
    ]
    if list(dict.fromkeys(order)) != documented_order():
        yield f"the commands replace services in the order {order}, not in that of an upgrade"
    jobs = [one for one in manifests.of("Job") if selected(applied[1].selector, one)]
    if len(jobs) != len(manifests.of("Job")):
        yield "the commands of an upgrade do not migrate before they replace services"
    for before, after in pairwise(steps):
        if before.command == "apply" and before is not steps[0] and after.command == "apply":
            yield f"nothing waits for what {before.selector} selects"


RULES: Final = (
    upgrade_order,
    known_variables,
    valid_settings,
    reachable_hosts,
    secret_keys,
    secrets_stay_secret,
    container_ports,
    service_ports,
    addresses,
    probe_paths,
    entry_points,
    roles,
    migration_jobs,
    versions,
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


def _can_start(module: str) -> bool:
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return False
    if found is None:
        return False
    package = found.submodule_search_locations is not None
    return not package or importlib.util.find_spec(f"{module}.__main__") is not None


def _refused(program: Program) -> str | None:
    if program.module == MIGRATIONS:
        parser = migrations.parser()
    elif program.serves:
        parser = launch_parser(program.module, config_of(program.module))
    else:
        return None
    said = StringIO()
    try:
        with redirect_stderr(said):
            called = parser.parse_args(program.arguments)
    except SystemExit:
        return said.getvalue().strip().rpartition("error: ")[2]
    return _refused_service(called)


def _refused_service(called: argparse.Namespace) -> str | None:
    service = getattr(called, "service", None)
    if service is not None and service not in migrated_services():
        return f"{service} has no migrations"
    return None


def _job_problems(job: Program) -> Iterator[str]:
    spec: Mapping[str, int] = job.workload.document["spec"]
    wait = dict(zip(job.arguments, job.arguments[1:], strict=False)).get("--wait", "0")
    if not 0 < int(wait) < spec.get("activeDeadlineSeconds", 0):
        yield f"{job.title} waits {wait} s for its database, as long as it may run, or not at all"
    if job.workload.pod.get("restartPolicy") != "Never":
        yield f"{job.title} restarts its container, which hides what the first one said"

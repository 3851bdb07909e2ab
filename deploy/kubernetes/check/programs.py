"""Rules: containers start programs that exist, in the right role, version and order."""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr
from io import StringIO
from itertools import pairwise
from typing import Final

from deploy.image.context import CONTAINERFILE, PACKAGES
from deploy.kubernetes.check.manifests import (
    COMPONENT,
    MIGRATIONS,
    NAME,
    SERVICES,
    Manifests,
    Program,
    config_of,
    has_database,
    migrated_services,
    title_of,
)
from deploy.kubernetes.check.recipes import documented_order, selected, upgrade_steps
from shared import VERSION
from shared.database import migrations
from shared.launch import parser as launch_parser


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


def in_the_image(manifests: Manifests) -> Iterator[str]:
    """The image has the modules, starts them with `python -m`, and has the user of the pods."""
    text = CONTAINERFILE.read_text()
    start = re.findall(r"^ENTRYPOINT (\[.*\])$", text, re.MULTILINE)[-1:]
    user = re.findall(r"^USER (\S+)$", text, re.MULTILINE)[-1:]
    if not start or json.loads(start[0])[-2:] != ["python", "-m"]:
        yield f"{CONTAINERFILE.name} does not start with python -m, as the arguments expect"
    for program in manifests.programs:
        if program.module.partition(".")[0] not in PACKAGES:
            yield f"{program.title} starts {program.module}, which is not in the image"
        given = program.workload.pod.get("securityContext", {})
        if user != [f"{given.get('runAsUser')}:{given.get('runAsGroup')}"]:
            yield f"{program.title} runs as {given.get('runAsUser')}, the image as {user}"


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
    entry_points,
    in_the_image,
    roles,
    migration_jobs,
    versions,
    upgrade_order,
)


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

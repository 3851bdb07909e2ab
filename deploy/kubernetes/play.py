"""Runs the overlay `dev` with podman and creates a record in it: `make kubernetes-run`.

`podman kube play` runs the pods; what a cluster does around them is done here, in small:

- PostgreSQL and RabbitMQ are private servers of this machine, reached through relays.
- A Secret is podman's secret of the same name. A Service is an address that pods know by its name
  (`hostAliases`), as there is one pod of each.
- podman 4.3 knows no Jobs: a Job runs as a Pod, before all others, and has to exit with 0.
- Probes are asked from here, because podman would ask them inside the container, with curl.
  Ports are left out, because podman would take the same ones of this machine.
- Network policies, budgets and spreading have no effect; `make kubernetes-check` looks at those.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import yaml

from deploy.image.build import NAME
from deploy.image.container import once
from deploy.image.first_record import answers, first_record
from deploy.image.podman import podman, run
from deploy.image.system import Backing, private_servers
from deploy.kubernetes.check.rendering import CheckFailed, Document, documents, rendered
from deploy.kubernetes.events_heard import Listener
from deploy.kubernetes.relay import relays
from deploy.local.binaries import ensure_tool
from deploy.local.failure import StartFailed
from deploy.local.progress import say, step
from shared import VERSION
from shared.identity import GATEWAY

OVERLAY = "dev"
READY_WITHIN_S = 120.0
JOB_WITHIN_S = 330.0
STOPPED_WITHIN_S = 60.0
_FIRST_HOST = 10
_POLL_S = 0.2
_NOT_FOR_PODMAN = ("livenessProbe", "readinessProbe", "startupProbe", "ports")


@dataclass(frozen=True, slots=True)
class Network:
    """podman's network of this run; `gateway` is this machine in it."""

    name: str
    gateway: str

    def address(self, number: int) -> str:
        """That of the pod with this number, counted from 0."""
        return f"{self.gateway.rpartition('.')[0]}.{_FIRST_HOST + number}"


@dataclass(frozen=True, slots=True)
class Play:
    """One pod as podman gets it, and where it will be."""

    name: str
    address: str
    pod: Document
    ports: Mapping[str, int]
    """The container's ports by their names."""

    @property
    def container(self) -> str:
        """Podman's name of its only container."""
        (one,) = self.pod["spec"]["containers"]
        return f"{self.name}-{one['name']}"


def main() -> int:
    """1 when something did not run, with the reason on stderr."""
    try:
        if os.geteuid() != 0:
            why = "the relays to the servers need the network of the pods, which only root shares"
            raise StartFailed("Kubernetes", why, "Run it as root.")
        ensure_tool("catatonit")
        _play(documents(rendered(OVERLAY)))
    except (StartFailed, CheckFailed) as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


def _play(found: list[Document]) -> None:
    say(f"Playing the overlay {OVERLAY} with podman")
    with ExitStack() as stack:
        say("  Starting PostgreSQL and RabbitMQ")
        backing = stack.enter_context(private_servers())
        network = stack.enter_context(_network())
        urls = stack.enter_context(
            relays(network.gateway, [*backing.databases.values(), backing.amqp_url])
        )
        contents = secret_contents(backing, urls)
        stack.enter_context(_secrets(contents))
        configuration = [one for one in found if one["kind"] == "ConfigMap"]
        jobs, workloads = plays(found, network)
        for job in jobs:
            with step(job.name.partition("-migrations")[0]) as current, _played(job, [], network):
                _finish(job)
                current.outcome = "migrated"
        with ExitStack() as running:
            with step("Pods"):
                for workload in workloads:
                    running.enter_context(_played(workload, configuration, network))
            with step("Ready") as current:
                _wait_ready(workloads)
                current.outcome = f"{len(workloads)} pods"
            gateway = next(one for one in workloads if one.name == GATEWAY)
            url = f"http://{gateway.address}:{gateway.ports['http']}"
            with step("First record") as current, Listener(backing.amqp_url) as listener:

                def administer(*arguments: str, stdin: str = "") -> None:
                    _administer(network, contents["sigma-auth-app"]["uri"], arguments, stdin)

                made = first_record(url, administer)
                current.outcome = f"{made}, heard {listener.wait_for(made)}"
            with step("SIGTERM to all") as current:
                current.outcome = _stop(workloads)
    say("The manifests run from the image.")


def plays(found: list[Document], network: Network) -> tuple[list[Play], list[Play]]:
    """The Jobs, and the Deployments, each as a Pod with an address of its own."""
    kinds = ("Job", "Deployment")
    sources = sorted(
        (one for one in found if one["kind"] in kinds), key=lambda one: kinds.index(one["kind"])
    )
    addresses = {
        one["metadata"]["name"]: network.address(number) for number, one in enumerate(sources)
    }
    aliases = [
        {"ip": addresses[source["metadata"]["name"]], "hostnames": [service["metadata"]["name"]]}
        for service in found
        if service["kind"] == "Service"
        for source in sources
        if source["kind"] == "Deployment" and _selects(service, source)
    ]
    made = []
    for source in sources:
        template, name = source["spec"]["template"], source["metadata"]["name"]
        spec = {**template["spec"], "hostAliases": aliases}
        spec["containers"] = [
            {key: value for key, value in container.items() if key not in _NOT_FOR_PODMAN}
            for container in spec["containers"]
        ]
        spec.setdefault("restartPolicy", "Never")  # One that ends is to be noticed.
        metadata = {"name": name, "labels": template["metadata"]["labels"]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        (container,) = template["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
        made.append(Play(name, addresses[name], pod, ports))
    jobs = sum(source["kind"] == "Job" for source in sources)
    return made[:jobs], made[jobs:]


def secret_contents(backing: Backing, urls: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """What deploy/kubernetes/README.md asks for; `urls` has the relay of each server's address."""
    keys = backing.keys
    signing = {f"{name}_identity_signing_key": key for name, key in keys.signing.items()}
    made = {
        f"sigma-{service.removesuffix('_service')}-app": {"uri": urls[url]}
        for service, url in backing.databases.items()
    }
    made["sigma-keys"] = {
        "identity_keys": keys.public,
        "token_keys": keys.tokens,
        "secret_keys": keys.secrets,
        **signing,
    }
    made["sigma-broker-default-user"] = {"connection_string": urls[backing.amqp_url]}
    return made


def _selects(service: Document, deployment: Document) -> bool:
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    return bool(service["spec"]["selector"].items() <= labels.items())


@contextmanager
def _network() -> Iterator[Network]:
    name = f"sigma-{secrets.token_hex(4)}"
    podman("network", "create", name)
    try:
        described: list[dict[str, Any]] = json.loads(podman("network", "inspect", name))
        yield Network(name, described[0]["subnets"][0]["gateway"])
    finally:
        run(["network", "rm", "--force", name])


@contextmanager
def _secrets(contents: Mapping[str, Mapping[str, str]]) -> Iterator[None]:
    made: list[str] = []
    try:
        for name, values in contents.items():
            data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
            done = run(["secret", "create", name, "-"], stdin=json.dumps(data))
            if done.returncode != 0:
                raise StartFailed(name, f"podman secret create: {done.stderr.strip()}")
            made.append(name)
        yield
    finally:
        for name in made:
            run(["secret", "rm", name])


@contextmanager
def _played(play: Play, configuration: list[Document], network: Network) -> Iterator[None]:
    text = yaml.safe_dump_all([*configuration, play.pod])
    try:
        done = run(
            ["kube", "play", "--quiet", "--network", network.name, "--ip", play.address, "-"],
            stdin=text,
        )
        if done.returncode != 0:
            raise StartFailed(play.name, f"podman kube play: {done.stdout}{done.stderr}")
        yield
    finally:
        run(["pod", "rm", "--force", "--time", "0", play.name])


def _finish(job: Play) -> None:
    code = podman("wait", job.container, within_s=JOB_WITHIN_S)
    if code != "0":
        raise StartFailed(job.name, f"it exited with {code}:\n{_logs(job)}")


def _wait_ready(workloads: list[Play]) -> None:
    """Each pod answers its start and its readiness probe, as its manifest has them."""
    ends = time.monotonic() + READY_WITHIN_S
    for one in workloads:
        for path in ("/healthz", "/readyz"):
            while not answers(f"http://{one.address}:{one.ports['internal']}{path}"):
                state = podman("inspect", "--format", "{{.State.Running}}", one.container)
                if state != "true" or time.monotonic() > ends:
                    raise StartFailed(one.name, f"{path} is not 200:\n{_logs(one)}")
                time.sleep(_POLL_S)


def _administer(network: Network, url: str, arguments: tuple[str, ...], stdin: str) -> None:
    done = once(
        *(f"{NAME}:{VERSION}", "auth_service", "admin", *arguments),
        environment={"SIGMA_DATABASE_URL": url},
        network=network.name,
        stdin=stdin,
    )
    if done.returncode != 0:
        raise StartFailed("admin", f"{arguments[0]}: {done.stdout}{done.stderr}")


def _stop(workloads: list[Play]) -> str:
    """SIGTERM to all, and the exit codes of all; each has its manifest's grace period."""
    began = time.monotonic()
    names = [one.container for one in workloads]
    podman("kill", "--signal", "TERM", *names)
    codes = podman("wait", *names, within_s=STOPPED_WITHIN_S).split()
    if codes != ["0"] * len(names):
        raise StartFailed("SIGTERM", f"exit codes {dict(zip(names, codes, strict=False))}")
    return f"exit code 0 within {time.monotonic() - began:.0f} s,"


def _logs(play: Play) -> str:
    done = run(["logs", play.container])
    return (done.stdout + done.stderr)[-4_000:]


if __name__ == "__main__":
    sys.exit(main())

"""Builds the image twice and tries all that it promises: `make images-check`."""

from __future__ import annotations

import json
import re
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from auth_service.config import Config as AuthConfig
from deploy.image import context
from deploy.image.build import NAME, build
from deploy.image.container import Container, once
from deploy.image.podman import podman, run
from deploy.image.system import System, private_servers
from deploy.local.failure import StartFailed
from deploy.local.progress import say, step
from deploy.local.settings import Ports
from deploy.local.system import choose_ports
from gateway.config import GatewayConfig
from records_service.config import Config as RecordsConfig
from shared.process.config import ServiceConfig
from workflow_service.config import Config as WorkflowConfig

BYTES_MAX = 270_000_000
USER = "10001:10001"
ENTRY_POINTS = (
    *(("gateway",), ("auth_service",), ("records_service",), ("workflow_service",)),
    ("auth_service", "admin"),
    *(("shared.database.migrations",), ("shared.identity.keys",)),
    *(("shared.messaging.dead_letters",), ("shared.database.restored",)),
    ("records_service.feed.telling_again",),
)
"""Everything that docs/operations.md starts with `python -m`."""
CONFIGS: dict[str, type[ServiceConfig]] = {
    "gateway": GatewayConfig,
    "auth_service": AuthConfig,
    "records_service": RecordsConfig,
    "workflow_service": WorkflowConfig,
}
SIGNALS_AFTER_MS = (0, 20, 50, 100, 200, 400)
"""From the moment at which the init starts Python; before it, it is loaded, in a millisecond."""
_ENDED_WITHIN_S = 25.0
_SIGTERM_BY_DEFAULT = 143
_FIRST_PORT = 19_120
_FROM_SOURCE = re.compile(r"^# code object from '?(/[^']*\.py)'?$", re.MULTILINE)
_WRITABLE = """
import os, stat
for folder, _, files in os.walk("/opt"):
    for path in (folder, *(os.path.join(folder, file) for file in files)):
        found = os.lstat(path)
        if found.st_uid or not stat.S_ISLNK(found.st_mode) and found.st_mode & 0o022:
            print(path)
"""
"""By owner and mode: whether a write succeeds would only say that the root is read-only."""
_WITHOUT_BYTECODE = """
import importlib.util, pathlib, struct, sys
for source in pathlib.Path("/opt/sigma").rglob("*.py"):
    kept = pathlib.Path(importlib.util.cache_from_source(str(source)))
    # Bit 0: by hash and not by time; bit 1 is unset: the source is not read again.
    if not kept.exists() or struct.unpack("<I", kept.read_bytes()[4:8])[0] != 1:
        print(source)
"""


def check(base: str) -> int:
    """0; or `StartFailed` with the first promise that is not kept."""
    say(f"Checking the image on {base}")
    with step("Build"):
        image = build(base)
    with step("Build it again") as current:
        current.outcome = _same_again(base)
    with step("Size") as current:
        current.outcome = size(image)
    with step("User and labels"):
        user_and_labels(image)
    with step("Contents"):
        contents(image)
    with step("Bytecode"):
        bytecode(image)
    with step("Entry points"):
        entry_points(image)
    with step("Wrong configuration"):
        wrong_configuration(image)
    with step("SIGTERM while starting") as current:
        current.outcome = stopping_while_starting(image)
    _system(image)
    say("The image keeps what it promises.")
    return 0


def _same_again(base: str) -> str:
    """The image's digest, which two builds have in common."""
    names = (f"{NAME}:{context.source().version}", f"{NAME}:again")
    try:
        build(base, tag="again")
        found = [podman("image", "inspect", "--format", "{{.Id}} {{.Digest}}", n) for n in names]
    finally:
        run(["image", "rm", names[1]])
    if found[0] != found[1]:
        raise StartFailed("Build", f"two builds differ: {found[0]} and {found[1]}")
    return f"the same, {found[0].split()[1][:19]}"


def size(image: str) -> str:
    """Megabytes of all layers, unpacked."""
    found = int(podman("image", "inspect", "--format", "{{.Size}}", image))
    if found > BYTES_MAX:
        raise StartFailed("Size", f"{found / 1e6:.0f} MB are more than {BYTES_MAX / 1e6:.0f} MB")
    return f"{found / 1e6:.0f} MB"


def user_and_labels(image: str) -> None:
    """The image says what it is, and that root is not needed."""
    config: dict[str, Any] = json.loads(
        podman("image", "inspect", "--format", "{{json .Config}}", image)
    )
    if config["User"] != USER:
        raise StartFailed("User", f"expected {USER}, found {config['User']}")
    source = context.source()
    for key, expected in (("version", source.version), ("revision", source.revision)):
        found = config["Labels"].get(f"org.opencontainers.image.{key}")
        if found != expected:
            raise StartFailed("Labels", f"{key}: expected {expected}, found {found}")


def contents(image: str) -> None:
    """The product and its environment, and nothing else."""
    found = set(_python(image, "import os; print(*os.listdir('/opt/sigma'))").split())
    expected = {*context.PACKAGES, "LICENSE", "bytecode", "init", "venv"}
    if found != expected:
        raise StartFailed("Contents", f"not expected in /opt/sigma: {found ^ expected}")
    if once(image, "pip", entry_point=("python", "-m")).returncode == 0:
        raise StartFailed("Contents", "pip is in the image")
    if writable := _python(image, _WRITABLE):
        raise StartFailed(
            "Contents", f"not only root can write to {' '.join(writable.split()[:10])}"
        )


def bytecode(image: str) -> None:
    """No module of the product, its packages or Python is compiled when a process starts."""
    if missing := _python(image, _WITHOUT_BYTECODE):
        raise StartFailed("Bytecode", f"missing for {' '.join(missing.split()[:10])}")
    for service in CONFIGS:
        said = once(image, service, "--help", entry_point=("python", "-v", "-m")).stderr
        if "# code object from" not in said:
            raise StartFailed("Bytecode", f"python -v does not say what it loads: {said[-500:]}")
        if compiled := _FROM_SOURCE.findall(said):
            raise StartFailed("Bytecode", f"{service} compiles {' '.join(compiled[:10])}")


def entry_points(image: str) -> None:
    """Every command of operators is there."""
    for command in ENTRY_POINTS:
        done = once(image, *command, "--help")
        if done.returncode != 0 or not done.stdout.startswith("usage:"):
            said = f"{done.stdout}{done.stderr}"
            raise StartFailed("Entry points", f"{' '.join(command)} --help: {said}")


def wrong_configuration(image: str) -> None:
    """Exit code 2, and one message that names every variable."""
    for service, config in CONFIGS.items():
        done = once(image, service, environment={"SIGMA_PORT": "http", "SIGMA_LOG_LEVEL": "loud"})
        required = [name for name, field in config.model_fields.items() if field.is_required()]
        wanted = {f"SIGMA_{name.upper()}" for name in ("port", "log_level", *required)}
        unnamed = [variable for variable in wanted if f"  {variable}" not in done.stderr]
        if done.returncode != 2 or unnamed or done.stdout:  # noqa: PLR2004  the usual code
            why = f"{service} exited with {done.returncode} and did not name {unnamed}: "
            raise StartFailed("Wrong configuration", why + done.stdout + done.stderr)


def stopping_while_starting(image: str) -> str:
    """SIGTERM ends the container, however soon it comes."""
    codes = []
    with tempfile.TemporaryDirectory(prefix="sigma-check-") as folder:
        for after_ms in SIGNALS_AFTER_MS:
            # `--help` would end by itself; this waits for its database.
            command = ("shared.database.migrations", "records_service", "--wait", "300")
            nowhere = {"SIGMA_DATABASE_URL": "postgresql://nobody:x@127.0.0.1:1/nothing"}
            made = Container.create(image, *command, folder=Path(folder), environment=nowhere)
            with made as container:
                container.start_and_signal(after_ms / 1000, "init")
                code = container.wait(_ENDED_WITHIN_S)
            if code not in (0, _SIGTERM_BY_DEFAULT):
                how = "did not end" if code is None else f"exited with {code}"
                raise StartFailed("SIGTERM", f"sent after {after_ms} ms: the container {how}")
            codes.append(code)
    return f"exit codes {codes}"


def _system(image: str) -> None:
    say("  Starting PostgreSQL and RabbitMQ")
    with private_servers() as backing:
        system = System(image, backing, choose_ports(Ports(_FIRST_PORT)))
        with step("Migrations"):
            system.migrate()
        with ExitStack() as running:
            with step("Four services"):
                running.enter_context(system.running())
            with step("First record") as current:
                current.outcome = system.first_record()
            with step("SIGTERM to all") as current:
                current.outcome = f"exit code 0 within {system.stop():.1f} s,"


def _python(image: str, program: str) -> str:
    done = once(image, program, entry_point=("python", "-c"))
    if done.returncode != 0:
        raise StartFailed("Container", done.stderr.strip())
    return done.stdout.strip()

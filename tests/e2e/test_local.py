"""`make run`: one command, a demo in which the documentation's examples work, and a clean end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from deploy.local import catalogue, demo, servers
from deploy.local.failure import StartFailed
from deploy.local.servers import PrivatePostgres, PrivateRabbit
from deploy.local.settings import SERVICES, Ports
from deploy.local.system import choose_ports
from tests.kit.eventually import eventually
from tests.kit.servers import ROOT
from tests.kit.sigma import Caller, error

RUNS_WITHIN_S = 180.0
ENDED_WITHIN_S = 60.0


class Run:
    """One `make run` on a folder and ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = free_ports()
        self.output = folder / "output.txt"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.ports.url("gateway")

    def command(self, folder: Path) -> list[str]:
        place = ["--port", str(self.ports.first), "--folder", str(folder)]
        return [sys.executable, "-m", "deploy.local", *place]

    def refused(self, folder: Path) -> str:
        """What it says when it cannot start."""
        done = subprocess.run(
            self.command(folder),
            cwd=ROOT,
            env=plain_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1, done.stdout
        return done.stderr

    def start(self, *more: str) -> str:
        """What it has printed when it is up; `more` are further arguments."""
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*self.command(self.folder / "run"), *more],
                cwd=ROOT,
                env=plain_environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        ends = time.monotonic() + RUNS_WITHIN_S
        while "Ctrl-C stops everything" not in (said := self.output.read_text()):
            assert self.process.poll() is None, said
            assert time.monotonic() < ends, said
            time.sleep(0.1)
        return said

    def status(self) -> dict[str, Any]:
        """What `make status` says to programs."""
        command = [sys.executable, "-m", "deploy.local.status", "--json"]
        done = subprocess.run(
            [*command, "--folder", str(self.folder / "run")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (0 if found["ready"] else 1)
        return found

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(ENDED_WITHIN_S)

    def postgres(self) -> int:
        """The first process of the private PostgreSQL."""
        (pid_file,) = self.folder.rglob("postmaster.pid")
        return int(pid_file.read_text().splitlines()[0])

    def children(self) -> list[str]:
        """Every process that was started for this folder and is still there."""
        return [
            line
            for pid in Path("/proc").glob("[0-9]*")
            if str(self.folder) in (line := words_of(pid)) and int(pid.name) != os.getpid()
        ]


def words_of(process: Path) -> str:
    try:
        told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    except OSError:
        return ""
    return told.replace(b"\0", b" ").decode(errors="replace")


def processes_of(service: str, ports: Ports) -> list[int]:
    return [
        int(process.name)
        for process in Path("/proc").glob("[0-9]*")
        if f"-m {service} " in (line := words_of(process))
        and f"SIGMA_PORT={ports.api(service)} " in line
    ]


def plain_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SIGMA_")}


def free_ports() -> Ports:
    for first in range(11_000, 19_000, 10):
        ports = Ports(first)
        wanted = [port(name) for name in SERVICES for port in (ports.api, ports.internal)]
        if all(is_free(port) for port in wanted):
            return ports
    raise AssertionError("no eight free ports")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture
def run() -> Iterator[Run]:
    with tempfile.TemporaryDirectory(prefix="sigma-run-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # The servers have users of their own.
        opened = Run(Path(folder))
        yield opened
        if opened.process is not None and opened.process.poll() is None:
            opened.stop(signal.SIGTERM)


async def log_in(session: aiohttp.ClientSession, url: str, user: demo.User) -> Caller:
    credentials = {"email": user.email, "password": user.password}
    answer = (await Caller(session, url).post("/auth/login", credentials)).ok()
    return Caller(session, url, {"Authorization": f"Bearer {answer['token']}"})


@pytest.mark.slow
async def test_one_command_starts_a_demo_that_is_kept_and_ends_clean(run):
    said = run.start("--processes", "records_service=2")
    assert f"Sigma PIM is at {run.url}" in said
    assert "admin@sigma.io / admin" in said
    async with aiohttp.ClientSession() as session:
        admin = await log_in(session, run.url, demo.ADMIN)
        await one_of_two_processes_may_die(run, admin)
        await the_documented_examples_work(admin)
        await the_gates_can_be_seen(admin, await log_in(session, run.url, demo.EDITOR))
        changed = {"scope": {}, "value": "ours"}
        await admin.patch("/records/ent-quay-bomber/values/internal-note", changed)
        await admin.delete("/records/ent-kids-boot")

    assert "it is already running in this folder" in run.refused(run.folder / "run")
    assert choose_ports(run.ports).first > run.ports.first
    for log in (run.folder / "run" / "logs").iterdir():
        assert log.stat().st_mode & 0o077 == 0, log
    assert (run.folder / "run" / "broker-url").read_text().startswith("amqp://")

    (killed,) = processes_of("auth_service", run.ports)
    os.kill(killed, signal.SIGKILL)
    await eventually(
        lambda: "auth_service: it was ended by SIGKILL" in run.output.read_text(),
        within_s=60,
    )
    async with aiohttp.ClientSession() as session:

        async def answers() -> bool:
            credentials = {"email": demo.ADMIN.email, "password": demo.ADMIN.password}
            answer = await Caller(session, run.url).post("/auth/login", credentials)
            return answer.status == 200

        await eventually(answers, within_s=60)

        await eventually(
            lambda: "auth_service: ready again after" in run.output.read_text(), within_s=60
        )
        # So are the servers, and whoever used them finds them again.
        os.kill(run.postgres(), signal.SIGKILL)
        await eventually(
            lambda: "PostgreSQL: ready again after" in run.output.read_text(), within_s=90
        )
        await eventually(answers, within_s=60)

    assert run.stop() == 0
    assert run.children() == []

    assert "already there, unchanged" in run.start()
    async with aiohttp.ClientSession() as session:
        admin = await log_in(session, run.url, demo.ADMIN)
        bomber = (await admin.get("/records/ent-quay-bomber")).ok()
        assert bomber["values"]["internal-note"] == [changed]
        assert (await admin.get("/records/ent-kids-boot")).status == 404
    assert run.stop(signal.SIGTERM) == 0
    assert run.children() == []


async def one_of_two_processes_may_die(run: Run, admin: Caller) -> None:
    parts = {each["part"]["name"]: each for each in run.status()["parts"]}
    assert set(parts) == {*SERVICES, "records_service-2", "PostgreSQL", "RabbitMQ"}
    assert [each["state"] for each in parts.values()] == ["ready"] * len(parts)
    first, second = (parts[name]["part"] for name in ("records_service", "records_service-2"))
    assert first["port"] == second["port"] == run.ports.api("records_service")
    assert first["pid"] != second["pid"]

    async def both_are_asked() -> bool:
        # Each connection is new, so the kernel chooses each time.
        url = f"http://127.0.0.1:{first['port']}/internal/service"
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            for _ in range(20):
                async with session.get(url) as answer:
                    assert answer.status == 200
        return all([await counted(process["probes"]) for process in (first, second)])

    await eventually(both_are_asked, within_s=30)

    made = [
        (await admin.post("/records", {"schemaId": "schema-apparel", "values": {}})).ok()["id"]
        for _ in range(8)
    ]
    written = Counter[str]()
    enough = asyncio.Event()

    async def client(record_id: str) -> None:
        while not enough.is_set():
            number = written[record_id]
            name = {"scope": {"dim-language": "seg-en"}, "value": f"Name {number}"}
            path, key = f"/records/{record_id}/values/product-name", f"{record_id}-{number}"
            while True:
                # The same key makes it safe to repeat, also if nobody knows what happened.
                answer = await admin.patch(path, name, headers={"Idempotency-Key": key})
                if answer.status not in (503, 504):
                    break
            answer.ok()
            written[record_id] += 1

    clients = [asyncio.create_task(client(record_id)) for record_id in made]

    async def goes_on(writes: int) -> None:
        more = written.total() + writes
        await eventually(
            lambda: written.total() > more or any(one.done() for one in clients), within_s=60
        )

    await goes_on(50)
    os.kill(second["pid"], signal.SIGKILL)
    await goes_on(100)
    await eventually(
        lambda: "records_service-2: ready again after" in run.output.read_text(), within_s=60
    )
    enough.set()
    await asyncio.gather(*clients)
    for record_id in made:
        # Nothing was lost, and nothing was done twice.
        assert (await admin.get(f"/records/{record_id}")).ok()["version"] == 1 + written[record_id]
        assert (await admin.delete(f"/records/{record_id}")).status == 204
    again = {each["part"]["name"]: each for each in run.status()["parts"]}["records_service-2"]
    assert again["part"]["pid"] != second["pid"]
    assert again["state"] == "ready"


async def counted(probes: int) -> bool:
    """Whether this process has answered requests."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{probes}/metrics") as answer,
    ):
        return 'route="/internal/service"' in await answer.text()


async def the_documented_examples_work(admin):
    dimensions = {each["id"]: each for each in (await admin.get("/dimensions")).ok()}
    assert dimensions["dim-language"]["defaultSegmentId"] == "seg-en"
    assert dimensions["dim-market"]["defaultSegmentId"] == "seg-dk"
    apparel = (await admin.get("/schemas/schema-apparel")).ok()
    assert (apparel["alias"], apparel["workflowId"]) == ("apparel", "wf-product-lifecycle")
    assert apparel["variantEnabled"] is True
    coastal = (await admin.get("/records/ent-coastal-wb")).ok()
    assert coastal["lifecycleStateId"] == "state-draft"
    assert coastal["createdBy"] == "user-admin"
    name = coastal["values"]["product-name"]
    assert {"scope": {"dim-language": "seg-en"}, "value": "Coastal Windbreaker"} in name

    records = (await admin.get("/records", params={"limit": "500"})).ok()
    assert records["total"] == len(list(catalogue.products())) >= 60
    languages = [
        entry["scope"] for each in records["items"] for entry in each["values"]["product-name"]
    ]
    assert languages.count({"dim-language": "seg-da"}) > 50

    draft = {
        "schemaId": "schema-apparel",
        "values": {
            "product-name": [{"scope": {"dim-language": "seg-en"}, "value": "Test Jacket"}],
            "sku": [{"scope": {}, "value": "TJ-001"}],
            "price": [{"scope": {"dim-market": "seg-dk"}, "value": 499}],
        },
    }
    created = (await admin.post("/records", draft)).ok()
    assert (await admin.post("/records", draft)).outcome == error(
        409, "CONFLICT", "Value 'TJ-001' for attribute 'sku' must be unique"
    )
    assert (await admin.delete(f"/records/{created['id']}")).status == 204


async def the_gates_can_be_seen(admin, editor):
    to_review = {"toStateId": "state-review"}
    assert (await editor.post("/records/ent-storm-cape/transition", to_review)).outcome == error(
        400,
        "TRANSITION_ERROR",
        "Completeness score 71% does not meet minimum 80% for transition to 'review'",
    )
    publish = {"toStateId": "state-published"}
    assert (await editor.post("/records/ent-dune-anorak/transition", publish)).outcome == error(
        400,
        "TRANSITION_ERROR",
        "Role 'role-editor' is not allowed to transition from 'review' to 'published'",
    )
    price = {"scope": {"dim-market": "seg-dk"}, "value": 1}
    told = (await editor.patch("/records/ent-coastal-wb/values/price", price)).outcome
    assert told == error(403, "PERMISSION_DENIED", "Permission denied")
    for state in ("state-draft", "state-review", "state-published"):
        found = (await admin.get("/records", params={"lifecycleStateId": state})).ok()
        assert found["total"] > 10, state


@pytest.mark.slow
def test_a_server_ends_with_whoever_started_it_and_keeps_what_was_committed(run):
    script = (
        "import sys, time; from pathlib import Path\n"
        "from deploy.local.servers import PrivatePostgres\n"
        "server = PrivatePostgres(Path(sys.argv[1])); server.start()\n"
        "print(server.port, flush=True); time.sleep(600)\n"
    )
    folder = run.folder / "postgres"
    starter = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        cwd=ROOT,
        env=plain_environment(),
        stdout=subprocess.PIPE,
    )
    with starter:
        assert starter.stdout is not None
        try:
            port = int(starter.stdout.readline())
            with pytest.raises(StartFailed, match="another process already runs in"):
                PrivatePostgres(folder).start()
        finally:
            starter.kill()
    ends = time.monotonic() + ENDED_WITHIN_S
    while not is_free(port):
        assert time.monotonic() < ends, "PostgreSQL outlived the process that started it"
        time.sleep(0.05)

    server = PrivatePostgres(folder)
    server.start()
    try:
        assert server.port == port
        server.kill()
        server.start()
        assert server.port == port
        assert server.running
    finally:
        server.stop()
    assert run.children() == []


def test_a_broker_whose_port_is_taken_meanwhile_starts_at_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As if somebody had got the port between the look at it and its use."""
    found = servers.free_port
    with socket.socket() as taker:
        taker.bind(("127.0.0.1", 0))
        taker.listen()
        broker = PrivateRabbit(tmp_path / "rabbit")
        taken = [taker.getsockname()[1]]
        monkeypatch.setattr(servers, "free_port", lambda: taken.pop() if taken else found())
        broker.start()
    assert broker.running
    assert not taken
    broker.stop()

"""A service as a process: how it starts, what it says, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from shared.http import LIMITS, Limits
from shared.launch import serving
from tests.kit import identities
from tests.kit.identities import Keyring
from tests.kit.raw_http import request, speak
from tests.kit.servers import ROOT
from tests.service.shelf.edge import new_process

MODULE = "tests.service.shelf.edge"


def lines_of(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def wait_until(is_so: Callable[[], object]) -> None:
    ends = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.01)


def metrics(url: str) -> str:
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as answer:
        return str(answer.read().decode())


def readiness(url: str) -> int:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_wrong_configuration_is_told_whole_and_exits_2(keyring: Keyring):
    outside = {name: value for name, value in os.environ.items() if not name.startswith("SIGMA_")}
    done = subprocess.run(
        [sys.executable, "-m", MODULE],
        cwd=ROOT,
        env={
            **outside,
            "SIGMA_PORT": "99999",
            "SIGMA_IDENTITY_KEYS": "gateway=nonsense",
            "SIGMA_AMQP_ULR": "amqp://secret",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for variable in ("SIGMA_PORT", "SIGMA_INTERNAL_PORT", "SIGMA_AMQP_URL", "SIGMA_IDENTITY_KEYS"):
        assert variable in done.stderr
    assert "nonsense" not in done.stderr
    assert "  SIGMA_AMQP_ULR is not known: is SIGMA_AMQP_URL meant?" in done.stderr
    assert "secret" not in done.stderr


def test_a_misspelled_variable_is_told_once_without_its_value(keyring: Keyring, tmp_path: Path):
    process = new_process(keyring, tmp_path, SIGMA_LOG_LEVL="debug-secret", SIGMA_AUTH_URL="x")
    process.start()
    process.wait_ready()
    process.stop()
    told = [line for line in lines_of(process.log) if line["event"] == "unknown_variable"]
    assert [(one["level"], one["variable"], one["meant"]) for one in told] == [
        ("warning", "SIGMA_LOG_LEVL", "SIGMA_LOG_LEVEL")
    ]
    assert "debug-secret" not in process.log.read_text()


def test_a_taken_port_is_told_and_exits_1(keyring: Keyring, tmp_path: Path):
    process = new_process(keyring, tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", process.port))
        taken.listen()
        process.start()
        deadline = time.monotonic() + 60
        while process.alive and time.monotonic() < deadline:
            time.sleep(0.02)
    assert process.stop() == 1
    last = lines_of(process.log)[-1]
    assert last["event"] == "cannot_serve"
    assert "SIGMA_HOST and SIGMA_PORT" in last["error"]
    assert "address already in use" in last["error"]
    assert "Traceback" not in process.tail()


async def test_it_is_not_ready_before_requests_have_a_port(monkeypatch: pytest.MonkeyPatch):
    started: list[int] = []
    start = web.TCPSite.start

    async def noted(site: web.TCPSite) -> None:
        await start(site)
        started.append(site.port)

    monkeypatch.setattr(web.TCPSite, "start", noted)
    app = web.Application()
    app[LIMITS] = Limits()
    async with serving(app) as served:
        assert started == [served.port, served.internal_port]


async def test_processes_share_a_port_only_if_all_of_them_want_to():
    def app() -> web.Application:
        made = web.Application()
        made[LIMITS] = Limits()
        return made

    async with serving(app(), reuse_port=True) as first:
        assert first.port is not None
        async with serving(app(), port=first.port, reuse_port=True) as second:
            assert second.port == first.port
            assert second.internal_port != first.internal_port
        with pytest.raises(OSError, match="cannot listen where SIGMA_HOST and SIGMA_PORT say"):
            async with serving(app(), port=first.port):
                pass
    async with serving(app()) as alone:
        assert alone.port is not None
        with pytest.raises(OSError, match="cannot listen where SIGMA_HOST and SIGMA_PORT say"):
            async with serving(app(), port=alone.port, reuse_port=True):
                pass


def test_every_request_leaves_one_line_without_credentials(keyring: Keyring, tmp_path: Path):
    process = new_process(keyring, tmp_path)
    process.start()
    process.wait_ready()
    headers = {
        **keyring.headers(identities.api_key()),
        "Authorization": "Bearer very-secret",
        "X-Sigma-ApiKey": "sigma_sk_live_very-secret",
        "X-Request-Id": "request-1",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    }
    path = "/api/v1/things/a?token=very-secret"
    assert speak("127.0.0.1", process.port, request("GET", path, headers)).status == 200
    broken = request("GET", "/open/broken", {"X-Request-Id": "request-2"})
    assert speak("127.0.0.1", process.port, broken).status == 500
    assert process.stop() == 0
    assert "very-secret" not in process.log.read_text()
    assert headers["X-Sigma-Identity"] not in process.log.read_text()
    lines = lines_of(process.log)
    assert {line["service"] for line in lines} == {"__main__"}
    (first,) = [line for line in lines if line.get("request_id") == "request-1"]
    assert first.pop("duration_ms") >= 0
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "event": "request",
        "level": "info",
        "service": "__main__",
        "request_id": "request-1",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "method": "GET",
        "route": "/api/v1/things/{id}",
        "path": "/api/v1/things/a",
        "status": 200,
        "workspace": "ws-test",
        "caller": "apikey-test",
        "caller_kind": "api_key",
    }
    error, second = [line for line in lines if line.get("request_id") == "request-2"]
    assert (error["level"], error["event"]) == ("error", "unexpected_error")
    assert "RuntimeError" in error["exception"]
    assert second["status"] == 500


def test_it_drains_accepts_finishes_and_exits_0(keyring: Keyring, tmp_path: Path):
    process = new_process(keyring, tmp_path, SIGMA_DRAIN_SECONDS="300")
    process.start()
    process.wait_ready()
    asked: list[Any] = []
    late = request("GET", "/open/late", {"X-Sigma-Deadline": "3000"})
    waiting = threading.Thread(
        target=lambda: asked.append(speak("127.0.0.1", process.port, late, 60))
    )
    waiting.start()
    in_flight = "sigma_http_requests_in_flight 1.0"
    wait_until(lambda: in_flight in metrics(process.internal_url) or asked)
    os.kill(process.pid, signal.SIGTERM)
    wait_until(lambda: readiness(process.internal_url) == 503)
    answer = speak("127.0.0.1", process.port, request("GET", "/open", close=False))
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    # The second signal ends the draining, and not what is in flight.
    assert process.stop() == 0
    waiting.join()
    assert asked[0].status == 504, "what was in flight got its answer"
    events = [line["event"] for line in lines_of(process.log)]
    assert [event for event in events if event != "request"] == ["serving", "draining", "stopped"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", process.port))


def test_who_is_told_to_stop_again_and_again_ends_well_all_the_same(
    keyring: Keyring, tmp_path: Path
):
    """Also in the last moments, when nobody listens to signals any more."""
    process = new_process(keyring, tmp_path, SIGMA_DRAIN_SECONDS="0")
    for _ in range(4):
        process.start()
        process.wait_ready()
        while process.alive:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)
        assert process.stop() == 0


SERVICES = ("gateway", "auth_service", "records_service", "workflow_service")
IN_A_NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


def may_unshare() -> bool:
    try:
        return (
            subprocess.run([*IN_A_NAMESPACE, "true"], check=False, capture_output=True).returncode
            == 0
        )
    except OSError:
        return False


@pytest.mark.parametrize("first_process", [False, True])
@pytest.mark.parametrize("module", SERVICES)
def test_a_stop_that_comes_while_modules_are_read_ends_the_process(
    module: str, *, first_process: bool
):
    """Also the first process of a container, for whom SIGTERM means nothing until it is caught."""
    if first_process and not may_unshare():
        pytest.skip("this machine does not let us make a PID namespace")
    command = [sys.executable, "-m", module]
    started = subprocess.Popen(
        [*IN_A_NAMESPACE, *command] if first_process else command,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        pid = 0
        deadline = time.monotonic() + 60
        while not (pid := pid or running_python(started.pid)) or not catches(pid, signal.SIGTERM):
            assert started.poll() is None, "it ended before it caught signals"
            assert time.monotonic() < deadline
        assert "pydantic" not in Path(f"/proc/{pid}/maps").read_text(), "it began with other work"
        os.kill(pid, signal.SIGTERM)
        # Without settings it would end with 2.
        assert started.wait(60) == 0
    finally:
        started.kill()
        started.wait()


def running_python(pid: int) -> int:
    """This process or its child, whichever is Python; 0 as long as neither is."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for each in (pid, *map(int, children)):
        with suppress(OSError):
            if b"-m" in Path(f"/proc/{each}/cmdline").read_bytes().split(b"\0")[1:2]:
                return each
    return 0


def catches(pid: int, name: signal.Signals) -> bool:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (name - 1) & 1)
    return False


def test_a_worker_serves_probes_only(keyring: Keyring, tmp_path: Path):
    process = new_process(keyring, tmp_path, role="worker")
    process.start()
    process.wait_ready()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", process.port))
    assert process.stop() == 0

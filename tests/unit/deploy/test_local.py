"""What `make run` makes of ports and of its caller's environment."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local import binaries
from deploy.local.events import is_news
from deploy.local.failure import StartFailed
from deploy.local.instances import PROCESSES_MAX, connections_max, instances, parse
from deploy.local.listening import is_free, listens
from deploy.local.settings import Keys, Ports, environment
from deploy.local.system import choose_ports
from deploy.local.watch import DEATHS_MAX, DEATHS_WITHIN_S, PAUSE_S_MAX, Part, Watch
from shared.events import EventType

ROOT = Path(__file__).parents[3]


def test_a_taken_port_moves_the_whole_set():
    asked = next(
        Ports(first)
        # Where no other test listens, nor the system opens connections from.
        for first in range(4_000, 6_000, 20)
        if all(is_free("127.0.0.1", first + each) for each in range(14))
        and all(is_free("127.0.0.1", first + 1_000 + each) for each in range(14))
    )
    assert choose_ports(asked) == asked
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", asked.internal("workflow_service")))
        other.listen()
        assert choose_ports(asked).first == asked.first + 10


def test_a_port_is_ours_only_if_our_process_listens_on_it():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert listens(os.getpid(), port)
        assert not listens(os.getppid(), port)


def test_a_port_of_a_second_process_is_looked_at_as_well():
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        asked = next(
            Ports(first)
            for first in range(6_000, 8_000, 20)
            if choose_ports(Ports(first), {"records_service": 2}).first == first
        )
        other.bind(("127.0.0.1", asked.internal("records_service", 2)))
        other.listen()
        assert choose_ports(asked) == asked
        assert choose_ports(asked, {"records_service": 2}).first > asked.first


def test_several_processes_of_a_service_share_its_port_and_nothing_else():
    processes = parse(" records_service=3, gateway=2 ")
    assert processes == {"records_service": 3, "gateway": 2}
    found = {each.name: each.settings(Ports(8080)) for each in instances(processes)}
    assert list(found) == [
        *("auth_service", "records_service", "records_service-2", "records_service-3"),
        *("workflow_service", "gateway", "gateway-2"),
    ]
    assert found["records_service-3"] == {
        "SIGMA_INTERNAL_PORT": "11082",
        "SIGMA_REUSE_PORT": "true",
    }
    assert found["auth_service"]["SIGMA_REUSE_PORT"] == "false"
    ports = [settings["SIGMA_INTERNAL_PORT"] for settings in found.values()]
    assert len(ports) == len(set(ports))
    # 16 of its pool and a few more each, and what others need.
    assert connections_max(processes) >= 5 * 19 + 10


def test_numbers_of_processes_that_cannot_be_are_told_all_at_once():
    asked = "records_service=0 gateway=9 gateway=2 gateway=3 webhooks=2 auth_service"
    done = subprocess.run(
        [sys.executable, "-m", "deploy.local", "--processes", asked],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    services = "auth_service, records_service, workflow_service, gateway"
    expected = f"expected a service ({services}) and a number, such as records_service=2"
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"make run: PROCESSES: records_service must be a number from 1 to {PROCESSES_MAX},"
        " got '0'; "
        f"gateway must be a number from 1 to {PROCESSES_MAX}, got '9'; gateway is named twice; "
        f"{expected}, got 'webhooks=2'; {expected}, got 'auth_service'\n"
    )


@pytest.mark.parametrize("port", ["0", "70000", "65000", "abc", "8080.5"])
def test_a_port_that_cannot_be_is_one_line(port: str):
    done = subprocess.run(
        [sys.executable, "-m", "deploy.local", "--port", port],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"make run: PORT must be a number from 1 to 64532, got {port}\n"


def test_services_are_given_what_they_need_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("SIGMA_POSTGRES_URL", "postgresql://admin:secret@host/")
    monkeypatch.setenv("SIGMA_LOG_LEVEL", "debug")
    keys = Keys.kept_in(tmp_path / "keys.json")
    told = environment("gateway", keys, Ports(8080), {}, "amqp://host")
    assert told["SIGMA_LOG_LEVEL"] == "debug"
    assert "secret" not in str(told)


class Played:
    """A part of the system whose end is decided by the test, and the time."""

    def __init__(self, folder: Path) -> None:
        self.now = 100.0
        self.code: int | None = None
        self.is_ready = True
        self.starts = 0
        (folder / "gateway.log").write_text("what it said last\n")
        part = Part(
            name="gateway",
            log=folder / "gateway.log",
            exit_code=lambda: self.code,
            start=self.start,
            ready=lambda: self.is_ready,
        )
        self.watch = Watch([part], lambda: self.now)

    def start(self) -> None:
        self.starts += 1
        self.code, self.is_ready = None, False

    def look(self, after_s: float = 0.0) -> None:
        self.now += after_s
        self.watch.look()


def test_a_service_that_ends_is_started_again_and_both_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    played = Played(tmp_path)
    played.look()
    assert capsys.readouterr().out == ""
    played.code = -signal.SIGKILL
    played.look()
    log = tmp_path / "gateway.log"
    assert capsys.readouterr().out == (
        f"gateway: it was ended by SIGKILL; starting it again in 0.5 s (its log: {log})\n"
    )
    played.look(after_s=0.4)
    assert played.starts == 0
    played.look(after_s=0.1)
    assert played.starts == 1
    played.look(after_s=1)
    assert capsys.readouterr().out == ""
    played.is_ready = True
    played.look(after_s=1)
    played.look()
    assert capsys.readouterr().out == "gateway: ready again after 2.5 s\n"
    played.code = 2
    played.look()
    assert "gateway: it exited (exit code 2); starting it again in 1 s" in capsys.readouterr().out


def test_deaths_of_long_ago_do_not_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    played = Played(tmp_path)
    for _ in range(2 * DEATHS_MAX):
        played.code = 1
        played.look(after_s=DEATHS_WITHIN_S)
        played.look(after_s=1)
    assert played.starts == 2 * DEATHS_MAX
    assert capsys.readouterr().out.count("in 0.5 s") == 2 * DEATHS_MAX


def test_a_service_that_dies_again_and_again_ends_it_all_with_the_end_of_its_log(tmp_path: Path):
    played = Played(tmp_path)
    for _ in range(DEATHS_MAX):
        played.code = 1
        played.look()
        played.look(after_s=PAUSE_S_MAX)
    played.code = 1
    with pytest.raises(StartFailed) as told:
        played.look()
    assert str(told.value).startswith(
        "gateway: it exited (exit code 1), 6 times within 2 minutes\n"
    )
    assert "what it said last" in str(told.value)


def test_all_missing_packages_are_told_in_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(binaries, "_as_root", lambda: None)
    lacking = {"postgresql": lambda: None, "rabbitmq-server": lambda: None, "here": Path}
    with pytest.raises(StartFailed) as told:
        binaries.check_installable(lacking)
    assert "not installed: postgresql, rabbitmq-server;" in str(told.value)
    assert "Run: sudo apt install postgresql rabbitmq-server" in str(told.value)


def test_programs_that_the_environment_names_are_used_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SIGMA_PROGRAMS", str(tmp_path))
    assert binaries.find_postgres() is None
    assert binaries.find_rabbit() is None
    for name in ("postgres", "initdb", "rabbitmq-server", "rabbitmq-env"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 17.1'\n")
        (tmp_path / name).chmod(0o755)
    assert binaries.find_postgres() == tmp_path
    assert binaries.find_rabbit() == tmp_path


def test_only_events_that_tell_of_a_change_are_printed():
    hidden = {each for each in EventType if not is_news(each)}
    assert {EventType.AUTH_WATERMARK, EventType.RECORDS_JOB} <= hidden
    assert not any(each.endswith(("ed", "transition")) for each in hidden)

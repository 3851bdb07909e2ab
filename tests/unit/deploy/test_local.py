"""What `make run` makes of ports and of its caller's environment."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.local import binaries
from deploy.local.failure import StartFailed
from deploy.local.listening import is_free, listens
from deploy.local.settings import Keys, Ports, environment
from deploy.local.system import DEATHS_MAX, System, choose_ports

ROOT = Path(__file__).parents[3]


def test_a_taken_port_moves_the_whole_set():
    asked = next(
        Ports(first)
        # Below the ports that the system gives to outgoing connections.
        for first in range(20_000, 31_000, 20)
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


@pytest.mark.parametrize("port", ["0", "70000", "65000"])
def test_a_port_out_of_range_is_one_line(port: str):
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


class Ended:
    """A process that ended by itself."""

    exit_code = 1


def test_a_service_that_dies_again_and_again_ends_it_all_with_the_end_of_its_log(tmp_path: Path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "gateway.log").write_text("what it said last\n")
    system = System(tmp_path, Ports(8080))
    system._deaths["gateway"] = [time.monotonic()] * DEATHS_MAX
    with pytest.raises(StartFailed) as told:
        system._start_again("gateway", Ended())
    assert str(told.value).startswith("gateway: it exited (exit code 1) for the 6th time")
    assert "what it said last" in str(told.value)


def test_all_missing_packages_are_told_in_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(binaries, "_as_root", lambda: None)
    lacking = {"postgresql": lambda: None, "rabbitmq-server": lambda: None, "here": Path}
    with pytest.raises(StartFailed) as told:
        binaries.check_installable(lacking)
    assert "not installed: postgresql, rabbitmq-server;" in str(told.value)
    assert "Run: sudo apt install postgresql rabbitmq-server" in str(told.value)

"""`make status`: what it says of parts that are well or not, and when nothing runs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from deploy.local import status
from deploy.local.folder import Running, holder_of, write_running
from deploy.local.status_report import (
    DatabaseFigures,
    PartStatus,
    QueueStatus,
    Report,
    ServiceFigures,
    text_of,
)
from tests.kit.servers import ROOT

RECORDS = Running("records_service-2", "records_service", 4711, 8082, 10082, "/logs/r.log")
METRICS = """
# TYPE sigma_http_requests_total counter
sigma_http_requests_total{method="GET",route="/a",status="200"} 7.0
sigma_http_requests_total{method="GET",route="/b",status="503"} 2.0
# TYPE sigma_http_requests_in_flight gauge
sigma_http_requests_in_flight 3.0
# TYPE sigma_postgres_pool_connections gauge
sigma_postgres_pool_connections{state="idle"} 4.0
sigma_postgres_pool_connections{state="used"} 1.0
# TYPE sigma_loop_lag_seconds gauge
sigma_loop_lag_seconds 0.002
# TYPE sigma_outbox_rows gauge
sigma_outbox_rows 12.0
# TYPE sigma_outbox_oldest_age_seconds gauge
sigma_outbox_oldest_age_seconds 1.5
"""
HEADS = (
    "process            pid   port  probes  memory  cores  requests  5xx  in flight"
    "  connections     loop lag  state"
)
ROW = (
    "records_service-2  4711  8082  10082   81 MB   0.25   9         2    3        "
    "  4 idle, 1 used  2 ms      Shutting down"
)
FIGURES = ServiceFigures(9, 2, 3, {"idle": 4, "used": 1}, 0.002, 12, 1.5)


def test_metrics_of_a_process_are_read():
    assert status._figures_of(METRICS) == FIGURES


def test_a_report_names_what_is_not_ready_and_why():
    postgres = Running("PostgreSQL", "PostgreSQL", None, 5432, None, "")
    report = Report(
        "process 1, http://127.0.0.1:8080",
        "/data",
        [
            PartStatus(RECORDS, "Shutting down", 81_000_000, 0.25, FIGURES),
            PartStatus(postgres, "", 0, 0.0, None),
        ],
        DatabaseFigures({"sigma_auth": 2, "sigma_records": 5}, 130),
        [QueueStatus("records_service", 3, 2, 1)],
    )
    assert text_of(report).splitlines() == [
        "make run: process 1, http://127.0.0.1:8080; data, keys and logs are in /data",
        "",
        HEADS,
        ROW,
        "",
        "server      pid        port  memory  cores  state",
        "PostgreSQL  elsewhere  5432                 ready",
        "",
        "Connections to PostgreSQL: 7 of 130 (sigma_auth 2, sigma_records 5)",
        "",
        "outbox of        events  oldest",
        "records_service  12      1.5 s",
        "",
        "queue            waiting  consumers  dead letters",
        "records_service  3        2          1",
        "",
        "1 of 2 not ready:",
        "  records_service-2: Shutting down",
    ]
    assert not report.ready


def test_programs_are_told_of_what_is_ready_in_a_word():
    part = PartStatus(RECORDS, "", 81_000_000, 0.25, FIGURES)
    told = json.loads(status.json_of(Report("process 1", "/data", [part], None, [])))
    assert told["ready"] is True
    assert told["parts"][0]["state"] == "ready"


async def test_parts_that_have_ended_or_do_not_answer_say_so(tmp_path: Path):
    gone = await asyncio.create_subprocess_exec("true")
    await gone.wait()
    write_running(
        tmp_path,
        [
            Running("gateway", "gateway", gone.pid, 1, 1, "/logs/gateway.log"),
            Running("auth_service", "auth_service", os.getpid(), 1, 1, "/logs/auth.log"),
            Running("PostgreSQL", "PostgreSQL", None, 1, None, ""),
            Running("RabbitMQ", "RabbitMQ", None, 1, None, ""),
        ],
    )
    (tmp_path / "broker-url").write_text("amqp://x:y@127.0.0.1:1/\n")
    (tmp_path / "databases.json").write_text('{"a": "postgresql://x:y@127.0.0.1:1/z"}')
    found = await status.report(tmp_path, "somebody")
    states = {each.part.name: each.state for each in found.parts}
    assert states["gateway"] == ("has ended; make run starts it again (its log: /logs/gateway.log)")
    for name in ("auth_service", "PostgreSQL", "RabbitMQ"):
        assert states[name].startswith("does not answer"), states
    assert states["auth_service"] == "does not answer on port 1 (connection refused)"
    assert not found.ready
    assert next(each for each in found.parts if each.part.pid == os.getpid()).memory_bytes > 1e6


def test_a_folder_is_somebody_s_only_while_they_run(tmp_path: Path):
    assert holder_of(tmp_path) is None
    holding = (
        "import sys; from pathlib import Path; from deploy.local.folder import *\n"
        "take(Path(sys.argv[1])); say_who_runs(Path(sys.argv[1]), 'http://here')\n"
        "print('taken', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holding, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert holder_of(tmp_path) == f"process {holder.pid}, http://here"
        holder.kill()
        holder.wait()
    assert holder_of(tmp_path) is None


def test_nothing_that_runs_is_one_line(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "deploy.local.status", "--folder", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "make run is not running: start it in another terminal.\n"

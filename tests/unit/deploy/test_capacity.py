"""The capacity page, the manifests and the measured unit costs say the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.capacity import pods as of_pods
from deploy.capacity.__main__ import main
from deploy.capacity.model import SIZES, TARGET, Size, cores, limits, plan
from deploy.capacity.page import PAGE, filled
from deploy.capacity.pods import pods
from deploy.capacity.simulation import Layout, simulate
from deploy.capacity.tables import of_sizes, tables
from deploy.capacity.unit_costs import UnitCosts, load
from tests.kit.servers import ROOT

BASE = ROOT / "deploy" / "kubernetes" / "base"


@pytest.fixture(scope="module")
def costs() -> UnitCosts:
    return load()


def manifest(service: str, role: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((BASE / service / f"{role}.yaml").read_text())
    return found


def target(service: str) -> str:
    """What the autoscaler of a service aims at: its own number, or that of all."""
    for file in (BASE / service / "autoscaler.yaml", BASE / "common" / "autoscaler.yaml"):
        metrics = yaml.safe_load(file.read_text())["spec"].get("metrics")
        if metrics:
            return str(metrics[0]["resource"]["target"]["averageValue"])
    raise AssertionError(service)


def test_the_tables_of_the_page_are_those_of_the_model(costs: UnitCosts):
    text = PAGE.read_text()
    assert filled(text, tables(costs)) == text, "run `make capacity`"


def test_what_pods_request_follows_from_the_unit_costs(costs: UnitCosts):
    found = pods(costs)
    lowest = min(pod.hpa_m for pod in found if pod.hpa_m is not None)
    for pod in found:
        service, _, worker = pod.name.partition(" ")
        folder = service.replace("_", "-")
        container = manifest(folder, worker or "api")["spec"]["template"]["spec"]["containers"][0]
        resources = container["resources"]
        assert resources["requests"] == {
            "cpu": f"{pod.cpu_m}m",
            "memory": f"{pod.memory_mi}Mi",
        }, pod.name
        if pod.hpa_m is not None:
            assert target(folder) == f"{lowest}m", pod.name


def test_no_overlay_changes_what_pods_request():
    """The manifests of the base are what runs."""
    overlays = (BASE.parent / "overlays").rglob("*.yaml")
    assert [file for file in overlays if "requests:" in file.read_text()] == []


def test_the_manifests_are_written_with_these_numbers(costs: UnitCosts):
    found = [
        replace(pod, cpu_m=850, memory_mi=1_504, hpa_m=pod.hpa_m and 450) for pod in pods(costs)
    ]
    written = of_pods.manifests(found)
    assert len(written) == len(found) + 1
    for file, text in written.items():
        if file.name == "autoscaler.yaml":
            assert "averageValue: 450m" in text
        else:
            assert "requests: { cpu: 850m, memory: 1504Mi }" in text, file
    as_they_are = of_pods.manifests(pods(costs))
    assert {file: file.read_text() for file in as_they_are} == as_they_are, "run `make capacity`"


def test_a_dearer_request_needs_more_of_everything_that_it_passes(costs: UnitCosts):
    read = costs.operations["read"]
    dearer = replace(read, cpu_us={part: 10 * us for part, us in read.cpu_us.items()})
    changed = replace(costs, operations={**costs.operations, "read": dearer})
    large, now = plan(costs, SIZES[-1]), plan(changed, SIZES[-1])
    for tier in ("gateway", "records_service"):
        assert now.tiers[tier].processes > large.tiers[tier].processes
    assert now.databases["records_service"].cores > large.databases["records_service"].cores
    assert limits(changed)[0].writes < limits(costs)[0].writes
    assert of_sizes([now]) != of_sizes([large])


def test_what_is_needed_grows_in_proportion(costs: UnitCosts):
    one = cores(costs, Size("one", 1, 1, 100).rates)
    ten = cores(costs, Size("ten", 1, 1, 1_000).rates)
    assert ten == pytest.approx({part: 10 * used for part, used in one.items()})
    for size in SIZES:
        for tier in plan(costs, size).tiers.values():
            assert tier.processes >= 2
            assert tier.cores / tier.processes <= TARGET + 1e-9, (size.name, tier)


def test_slow_requests_lower_the_target_of_the_autoscaler():
    assert of_pods._target_m(0) == 600
    assert of_pods._target_m(1_000) == 500
    assert of_pods._target_m(1_500) == 300


def test_a_simulation_without_a_crowd_takes_as_long_as_one_request_alone(costs: UnitCosts):
    calm = simulate(costs, {"read": 5.0, "update": 5.0}, Layout(1, 1, 2))
    for kind in ("read", "update"):
        alone = costs.operations[kind].alone_ms
        assert calm.percentile(kind, 0.5) == pytest.approx(alone, rel=0.3)
    assert all(part < 0.05 for part in calm.busy.values())


def test_a_simulation_beyond_what_a_process_can_do_is_seen(costs: UnitCosts):
    us = costs.operations["read"].cpu_us["records_service"]
    rates = {"read": 2 * 1e6 / us}
    crowded = simulate(costs, rates, Layout(8, 1, 8))
    enough = simulate(costs, rates, Layout(8, 4, 8))
    assert crowded.busy["records_service"] > 0.95
    assert crowded.percentile("read", 0.5) > 20 * enough.percentile("read", 0.5)
    assert enough.busy["records_service"] == pytest.approx(0.5, rel=0.1)


def test_a_place_without_a_table_is_told(tmp_path: Path):
    with pytest.raises(ValueError, match="places and tables differ: limits"):
        filled("<!-- generated: limits -->\n<!-- end -->\n", {})


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        # It would write the page instead.
        (["--workspaces", "300"], "--workspaces needs --records and --writes"),
        (["--writes", "120"], "--records and --writes belong together"),
        (
            ["--records", "4m", "--writes", "120"],
            "argument --records: expected a whole number from 1 to 10^12, got '4m'",
        ),
    ],
)
def test_a_size_that_is_not_whole_is_refused(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(f"error: {why}\n")

"""What dashboards and alerts ask Prometheus for, real processes measure, with these labels."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping

import yaml
from prometheus_client.parser import text_string_to_metric_families

from deploy.dashboards.__main__ import BOARDS
from deploy.kubernetes.check.observability import metrics
from tests.kit.eventually import eventually
from tests.kit.servers import ROOT
from tests.kit.stack import Stack

ALERTS = ROOT / "deploy/kubernetes/components/prometheus/alerts.yaml"
APPENDED = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
"""What Prometheus appends to the name of a metric."""


def asked() -> set[str]:
    """The metrics that are named in expressions."""
    expressions = [expression for board in BOARDS.values() for expression in board.expressions]
    for group in yaml.safe_load(ALERTS.read_text())["spec"]["groups"]:
        expressions += [rule["expr"] for rule in group["rules"]]
    return {name for text in expressions for name in re.findall(r"\bsigma_\w+", text)}


def families(texts: Iterable[str]) -> dict[str, list[Mapping[str, str]]]:
    """What is measured, also without a value yet, with the labels of each value."""
    found: dict[str, list[Mapping[str, str]]] = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            if family.name.startswith("sigma_"):
                for appended in APPENDED.get(family.type, ("",)):
                    found.setdefault(family.name + appended, [])
                for sample in family.samples:
                    found.setdefault(sample.name, []).append(sample.labels)
    return found


async def test_what_is_asked_for_is_measured(stack: Stack):
    sigma = await stack.workspace()
    await sigma.attribute("name")
    await sigma.schema("shirt", ["name"])
    await sigma.record("schema-shirt", {"name": "one"}, id="ent-1")

    async def measured() -> dict[str, list[Mapping[str, str]]]:
        callers = [stack.caller().at(process.internal_url) for process in stack.processes]
        texts = await asyncio.gather(*(one.get("/metrics") for one in callers))
        return families(text.ok() for text in texts)

    async def all_is_there() -> bool:
        return asked() <= (await measured()).keys()

    # Some are measured every half a minute, or after the first of their kind.
    await eventually(all_is_there, within_s=90)
    there = await measured()
    assert not {"sigma_http_request_total", "sigma_jobs_bucket"} & there.keys()
    # What `make kubernetes-check` reads from the code is what the processes say.
    declared = metrics()
    for name, samples in there.items():
        for labels in samples:
            assert set(labels) - {"le"} == set(declared[name]), name
    assert {"(other)", "(none)"} <= {
        labels["workspace"] for labels in there["sigma_workspace_requests_total"]
    }

"""Rules: alerts, dashboards and scaling name metrics and queues that the code has."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import yaml
from aiohttp import web

from deploy.kubernetes.check.manifests import Manifests, selects, title_of
from deploy.kubernetes.check.rendering import ROOT, CheckFailed, Document, run
from deploy.local.binaries import ensure_tool
from deploy.local.failure import StartFailed
from shared.http.probes import probes_of
from shared.messaging.topology import QUEUES

TESTS: Final = ROOT / "deploy/kubernetes/components/prometheus/alerts_test.yaml"
_SUFFIXES: Final[Mapping[str, tuple[str, ...]]] = {
    "Counter": ("_total",),
    "CounterMetricFamily": ("_total",),
    "Gauge": ("",),
    "GaugeMetricFamily": ("",),
    "Histogram": ("_bucket", "_sum", "_count"),
    "HistogramMetricFamily": ("_bucket", "_sum", "_count"),
}
_TARGET_LABELS: Final = frozenset(("job", "instance", "namespace", "pod", "container", "le"))
_DOCUMENTED: Final = re.compile(r"^\| [^|]+ \| `(.+)` \| (\d+ [smh]) \|$", re.MULTILINE)
_DASHBOARD: Final = "grafana_dashboard"
RUNBOOK: Final = ROOT / "docs/runbook.md"


def known_metrics(manifests: Manifests) -> Iterator[str]:
    """Every metric in an alert or a dashboard is measured by the code, with the labels used."""
    measured = metrics()
    for where, text in (*_expressions(manifests), *_dashboards(manifests)):
        named = set(re.findall(r"\bsigma_[a-z0-9_]+\b", text))
        for name in sorted(named - set(measured)):
            yield f"{where} asks for {name}, which nothing measures"
        labels = _TARGET_LABELS.union(*(measured[one] for one in named & set(measured)))
        used = re.findall(r"\bby\s*\(([^)]*)\)", text)
        for label in {one.strip() for group in used for one in group.split(",")} - labels - {""}:
            yield f"{where} groups by {label}, which is no label of {', '.join(sorted(named))}"
        for name, matchers in re.findall(r"\b(sigma_[a-z0-9_]+)\{([^}]*)\}", text):
            asked = set(re.findall(r"(\w+)\s*(?:=|!)", re.sub(r'"[^"]*"', "", matchers)))
            for label in sorted(asked - _TARGET_LABELS - measured.get(name, frozenset())):
                yield f"{where} asks for the label {label}, which {name} does not have"


def understood_dashboards(manifests: Manifests) -> Iterator[str]:
    """`promtool` understands every expression of the dashboards."""
    found = list(_dashboards(manifests))
    if not found:
        return
    rules = [
        {"record": f"dashboard:line:number{number}", "expr": expression}
        for number, (_, expression) in enumerate(found)
    ]
    with TemporaryDirectory() as name:
        folder = Path(name)
        groups = {"groups": [{"name": "dashboards", "rules": rules}]}
        (folder / "rules.yaml").write_text(yaml.safe_dump(groups))
        done = run([_promtool(), "check", "rules", "rules.yaml"], folder)
        if done.returncode != 0:
            yield f"promtool, of the dashboards: {(done.stdout + done.stderr).strip()}"


def explained_alerts(manifests: Manifests) -> Iterator[str]:
    """Each alert leads to its paragraph in docs/runbook.md, and no other paragraph is there."""
    page = RUNBOOK.read_text()
    explained = set(re.findall(r"^## (\w+)$", page, re.MULTILINE))
    alerts = {rule["alert"]: rule for _, rule in _alerts(manifests)}
    if not alerts:
        return
    for name in sorted(explained - set(alerts)):
        yield f"{RUNBOOK.name} explains {name}, which is no alert"
    for name, rule in alerts.items():
        paragraph = page.partition(f"## {name}\n")[2].partition("\n## ")[0]
        for part in ("Users", "Look at", "Do"):
            if f"- **{part}:** " not in paragraph:
                yield f"{RUNBOOK.name} does not say of {name}: {part}"
        if rule["annotations"].get("runbook_url") != f"docs/{RUNBOOK.name}#{name.lower()}":
            yield f"{name} does not lead to its paragraph in {RUNBOOK.name}"


def documented_alerts(manifests: Manifests) -> Iterator[str]:
    """The alerts are those of docs/operations.md: the same expressions, for the same time."""
    page = (ROOT / "docs" / "operations.md").read_text()
    documented = {
        (expression, time.replace(" ", "")) for expression, time in _DOCUMENTED.findall(page)
    }
    if not manifests.of("PrometheusRule"):
        return
    there = {(one["expr"], one["for"]) for _, one in _alerts(manifests)}
    for expression, time in sorted(documented - there):
        yield f"no alert has the expression {expression} for {time}, as docs/operations.md says"
    for expression, time in sorted(there - documented):
        yield f"docs/operations.md has no alert {expression} for {time}"


def tested_alerts(manifests: Manifests) -> Iterator[str]:
    """Every alert has a unit test in which it fires and one in which it is silent."""
    tests = yaml.load(TESTS.read_text(), yaml.CSafeLoader)["tests"]
    found = {
        (case["alertname"], bool(case["exp_alerts"]))
        for test in tests
        for case in test["alert_rule_test"]
    }
    for _, alert in _alerts(manifests):
        for fires in (True, False):
            if (alert["alert"], fires) not in found:
                does = "fires" if fires else "is silent"
                yield f"{alert['alert']} has no test in which it {does}"


def passing_alerts(manifests: Manifests) -> Iterator[str]:
    """`promtool` accepts the alerts, and their unit tests pass."""
    rules = manifests.of("PrometheusRule")
    if not rules:
        return
    groups = [group for one in rules for group in one["spec"]["groups"]]
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
        (folder / TESTS.name).write_text(TESTS.read_text())
        for command in (("check", "rules", "rules.yaml"), ("test", "rules", TESTS.name)):
            done = run([_promtool(), *command], folder)
            if done.returncode != 0:
                yield f"promtool {command[0]} rules: {(done.stdout + done.stderr).strip()}"


def monitored_pods(manifests: Manifests) -> Iterator[str]:
    """Monitors select pods, and the port and path where they measure; every process is measured."""
    monitors = manifests.of("PodMonitor")
    paths = {one.canonical for one in probes_of(web.Application()).router.resources()}
    measured = set()
    for one in monitors:
        pods = [pod for pod in manifests.pods if selects(one["spec"]["selector"], pod.labels)]
        measured |= {pod.title for pod in pods}
        if not pods:
            yield f"{title_of(one)} selects no pod"
        for endpoint in one["spec"]["podMetricsEndpoints"]:
            for pod in pods:
                if endpoint["port"] not in pod.ports:
                    yield f"{title_of(one)} asks {pod.title} at a port that it has not"
                if pod.program and endpoint.get("path", "/metrics") not in paths:
                    yield f"{title_of(one)} asks {pod.title} for a path that it has not"
    for pod in manifests.pods:
        if monitors and pod.program and pod.program.serves and pod.title not in measured:
            yield f"{pod.title} is not measured"


def known_queues(manifests: Manifests) -> Iterator[str]:
    """KEDA looks at queues of the topology, never at dead letters, and scales their consumer."""
    known = {queue.name for queue in QUEUES}
    watched = set()
    for one in manifests.of("ScaledObject"):
        target = one["spec"]["scaleTargetRef"]["name"]
        for trigger in one["spec"]["triggers"]:
            queue = trigger["metadata"].get("queueName", "")
            watched.add(queue)
            if queue not in known:
                yield f"{title_of(one)} looks at the queue {queue}, which is not in the topology"
            elif target != f"{queue.partition('.')[0].replace('_', '-')}-worker":
                yield f"{title_of(one)} scales {target} by the queue {queue} of another service"
            if trigger["metadata"].get("protocol") != "http":
                yield f"{title_of(one)} does not count the messages that consumers hold"
            if (
                manifests.named("TriggerAuthentication", trigger["authenticationRef"]["name"])
                is None
            ):
                yield f"{title_of(one)} logs in with what does not exist"
    if watched:
        for queue in sorted(known - watched):
            yield f"no worker is scaled by the queue {queue}"


RULES: Final = (
    known_metrics,
    understood_dashboards,
    explained_alerts,
    documented_alerts,
    tested_alerts,
    passing_alerts,
    monitored_pods,
    known_queues,
)


@cache
def metrics() -> Mapping[str, frozenset[str]]:
    """Every series that the code measures, with its labels, read from the calls that define it."""
    found: dict[str, frozenset[str]] = {}
    for folder in ("shared", "gateway", "auth_service", "records_service", "workflow_service"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            text = file.read_text()
            if "sigma_" in text:
                for node in ast.walk(ast.parse(text)):
                    if isinstance(node, ast.Call):
                        found |= _defined(node)
    return found


def _defined(call: ast.Call) -> dict[str, frozenset[str]]:
    name = getattr(call.func, "id", "")
    first = call.args[0] if call.args else None
    if name not in _SUFFIXES or not isinstance(first, ast.Constant):
        return {}
    metric = str(first.value).removesuffix("_total" if name.startswith("Counter") else "")
    given = [*call.args[2:3], *(one.value for one in call.keywords if one.arg == "labels")]
    labels = {
        one.value
        for sequence in given
        if isinstance(sequence, ast.List | ast.Tuple)
        for one in sequence.elts
        if isinstance(one, ast.Constant)
    }
    return {metric + suffix: frozenset(map(str, labels)) for suffix in _SUFFIXES[name]}


def _alerts(manifests: Manifests) -> Iterator[tuple[str, Document]]:
    for one in manifests.of("PrometheusRule"):
        for group in one["spec"]["groups"]:
            for rule in group["rules"]:
                yield title_of(one), rule


def _expressions(manifests: Manifests) -> Iterator[tuple[str, str]]:
    for _, rule in _alerts(manifests):
        yield f"alert {rule['alert']}", rule["expr"]


def _dashboards(manifests: Manifests) -> Iterator[tuple[str, str]]:
    for one in manifests.of("ConfigMap"):
        if _DASHBOARD in one["metadata"].get("labels", {}):
            for name, text in one.get("data", {}).items():
                for expression in re.findall(r'"expr": "((?:[^"\\]|\\.)*)"', text):
                    yield f"dashboard {name}", json.loads(f'"{expression}"')


def _promtool() -> Path:
    try:
        return ensure_tool("promtool", package="prometheus")
    except StartFailed as failure:
        raise CheckFailed(str(failure)) from failure

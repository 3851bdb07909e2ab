"""The broker of the manifests is set as that which `make failover` loses nodes of."""

from __future__ import annotations

import re

import yaml

from tests.kit.servers import ROOT


def test_the_manifests_have_every_setting_of_a_cluster():
    measured = (ROOT / "deploy" / "rabbitmq" / "cluster.conf").read_text()
    manifest = ROOT / "deploy" / "kubernetes" / "components" / "rabbitmq" / "cluster.yaml"
    cluster, _ = yaml.safe_load_all(manifest.read_text())
    deployed = cluster["spec"]["rabbitmq"]
    assert _settings(measured) <= _settings(deployed["additionalConfig"])
    advanced = (ROOT / "deploy" / "rabbitmq" / "advanced.config").read_text()
    assert "net_setuptime" in advanced
    assert _term(advanced) == _term(deployed["advancedConfig"])


def _settings(text: str) -> set[str]:
    return {line for line in text.splitlines() if line and not line.startswith("#")}


def _term(text: str) -> str:
    """What Erlang reads, without comments and spaces."""
    return re.sub(r"\s", "", re.sub(r"%.*", "", text))

"""The broker of the manifests is set as that which `make failover` loses nodes of."""

from __future__ import annotations

import yaml

from tests.kit.servers import ROOT


def test_the_manifests_have_every_setting_of_a_cluster():
    measured = (ROOT / "deploy" / "rabbitmq" / "cluster.conf").read_text()
    manifest = ROOT / "deploy" / "kubernetes" / "components" / "rabbitmq" / "cluster.yaml"
    cluster, _ = yaml.safe_load_all(manifest.read_text())
    deployed = cluster["spec"]["rabbitmq"]["additionalConfig"]
    assert _settings(measured) <= _settings(deployed)


def _settings(text: str) -> set[str]:
    return {line for line in text.splitlines() if line and not line.startswith("#")}

"""What `make kubernetes-run` makes of the manifests before podman gets them."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.image.system import Backing
from deploy.kubernetes import play
from deploy.local.settings import Keys

NETWORK = play.Network("sigma-test", "10.89.7.1")


def workload(kind, service, component, **container):
    labels = {"app.kubernetes.io/name": service, "app.kubernetes.io/component": component}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    return {
        "kind": kind,
        "metadata": {"name": f"{service}-{component}"},
        "spec": {"template": template},
    }


@pytest.fixture
def manifests():
    probed = {
        "name": "sigma",
        "args": ["records_service"],
        "ports": [{"name": "http", "containerPort": 8082}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "internal"}},
    }
    service = {
        "kind": "Service",
        "metadata": {"name": "records-service"},
        "spec": {
            "selector": {
                "app.kubernetes.io/name": "records-service",
                "app.kubernetes.io/component": "api",
            }
        },
    }
    return [
        workload("Deployment", "records-service", "worker", name="sigma"),
        workload("Deployment", "records-service", "api", **probed),
        service,
        workload("Job", "records-service", "migrations", name="sigma"),
        {"kind": "NetworkPolicy", "metadata": {"name": "dns"}, "spec": {}},
    ]


def test_jobs_come_first_and_every_pod_has_an_address_of_its_own(manifests):
    jobs, workloads = play.plays(manifests, NETWORK)
    assert [one.name for one in jobs] == ["records-service-migrations"]
    assert [one.name for one in workloads] == ["records-service-worker", "records-service-api"]
    assert [one.address for one in (*jobs, *workloads)] == [
        "10.89.7.10",
        "10.89.7.11",
        "10.89.7.12",
    ]


def test_a_service_is_the_address_of_the_pod_that_it_selects(manifests):
    _, workloads = play.plays(manifests, NETWORK)
    for one in workloads:
        assert one.pod["spec"]["hostAliases"] == [
            {"ip": "10.89.7.12", "hostnames": ["records-service"]}
        ]


def test_podman_gets_the_container_without_probes_and_ports(manifests):
    _, (_, api) = play.plays(manifests, NETWORK)
    assert api.pod["spec"]["containers"] == [{"name": "sigma", "args": ["records_service"]}]
    assert api.pod["spec"]["restartPolicy"] == "Never"
    assert api.container == "records-service-api-sigma"
    assert api.ports == {"http": 8082}


def test_secrets_have_the_addresses_of_the_relays(tmp_path: Path):
    keys = Keys.kept_in(tmp_path / "keys.json")
    own = {f"{name}_service": f"postgresql://{name}" for name in ("auth", "records", "workflow")}
    backing = Backing(own, "amqp://broker", keys, tmp_path)
    urls = {url: f"{url}-relayed" for url in (*own.values(), "amqp://broker")}
    made = play.secret_contents(backing, urls)
    assert made["sigma-records-app"] == {"uri": "postgresql://records-relayed"}
    assert made["sigma-broker-default-user"] == {"connection_string": "amqp://broker-relayed"}
    assert made["sigma-keys"]["gateway_identity_signing_key"] == keys.signing["gateway"]
    told = (Path(play.__file__).parent / "README.md").read_text()
    for name, values in made.items():
        assert f"`{name}`" in told
        assert all(f"`{key}`" in told for key in values)

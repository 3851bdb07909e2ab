"""Three RabbitMQ nodes of one cluster, each at an address of its own.

cluster = RabbitCluster(folder)
cluster.start()
cluster.url             # all three nodes in one address
cluster.leader_of("records_service").kill()
"""

from __future__ import annotations

import re
import secrets
import shutil
import signal
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from deploy.local.child_process import ChildProcess
from deploy.local.private_server import STOPPED_WITHIN_S, free_port, plain_environment
from deploy.local.servers import PrivateRabbit
from tests.kit.servers import ROOT

NODES: Final = 3
SETTINGS: Final = ROOT / "deploy" / "rabbitmq" / "cluster.conf"
ADVANCED: Final = ROOT / "deploy" / "rabbitmq" / "advanced.config"
"""What every node of an installation is told."""


class Node(PrivateRabbit):
    """One node. Its name is that of a host which only the cluster knows."""

    def __init__(
        self, folder: Path, number: int, shared: Mapping[str, str], port_mapper: int
    ) -> None:
        """`shared`: the password of the administrator and the cookie of the cluster."""
        self.address = f"127.0.2.{number}"
        self.number = number
        super().__init__(folder, also_on=[self.address])
        self._shared = shared
        self._mapped_by = port_mapper

    @property
    def name(self) -> str:
        return f"sigma{self.number}@n{self.number}"

    def wait_until_it_works(self, within_s: float) -> None:
        """Return when queues can be used at it, such as after it was cut off; or `StartFailed`."""
        self._wait_until(self._declare_a_queue, within_s)

    def _take_place(self) -> None:
        if "node" not in self._memory:
            self._remember(
                node=self.name,
                password=self._shared["password"],
                between_nodes=free_port(),
                port_mapper=self._mapped_by,
            )

    def _map_ports(self, environment: Mapping[str, str]) -> None:
        """The cluster does that for all of them."""

    def _unmap_ports(self) -> None:
        """As `_map_ports`."""

    def _configuration(self) -> str:
        cookie = self._write("home/.erlang.cookie", self._shared["cookie"])
        self._own(cookie, 0o400)
        names = "".join(
            f'{{host, {{127,0,2,{number}}}, ["n{number}"]}}.\n' for number in range(1, NODES + 1)
        )
        self._write("advanced.config", ADVANCED.read_text())
        self._write("hosts.inetrc", names + "{lookup, [file, native]}.\n")
        seed = (
            ""
            if self.number == 1
            else "cluster_formation.peer_discovery_backend = classic_config\n"
            "cluster_formation.classic_config.nodes.1 = sigma1@n1\n"
        )
        return f"{super()._configuration()}{SETTINGS.read_text()}{seed}"

    def _environment(self) -> dict[str, str]:
        address = self.address.replace(".", ",")
        # What it asks others for comes from its own address as well: a cut finds all of it.
        at = (
            f"-kernel inet_dist_use_interface {{{address}}}"
            f" -kernel inet_dist_connect_options [{{ip,{{{address}}}}}]"
        )
        return super()._environment() | {
            "ERL_INETRC": str(self.folder / "hosts.inetrc"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": at,
        }


class RabbitCluster:
    """It stands where a private server is expected: it can be started and stopped."""

    def __init__(self, folder: Path) -> None:
        shared = {"password": secrets.token_urlsafe(18), "cookie": secrets.token_hex(16)}
        self._port_mapper = free_port()
        self._mapping: ChildProcess | None = None
        self.nodes = [
            Node(folder / f"n{number}", number, shared, self._port_mapper)
            for number in range(1, NODES + 1)
        ]
        self._log = folder / "epmd.log"
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        """Of all nodes."""
        at = urlsplit(self.nodes[0].url)
        user, _, _ = at.netloc.rpartition("@")
        hosts = ",".join(f"{node.address}:{node.port}" for node in self.nodes)
        return urlunsplit(at._replace(netloc=f"{user}@{hosts}"))

    @property
    def running(self) -> bool:
        return all(node.running for node in self.nodes)

    def start(self) -> None:
        """Return when every node does its work."""
        if self._mapping is None:
            addresses = ",".join(node.address for node in self.nodes)
            command = [str(shutil.which("epmd")), "-port", str(self._port_mapper)]
            self._mapping = ChildProcess(
                [*command, "-address", addresses], plain_environment(), self._log
            )
        first, *others = self.nodes
        first.start()
        with ThreadPoolExecutor() as threads:
            list(threads.map(Node.start, others))

    def stop(self) -> None:
        with ThreadPoolExecutor() as threads:
            list(threads.map(Node.kill, self.nodes))
        if self._mapping is not None:
            self._mapping.end(signal.SIGTERM, STOPPED_WITHIN_S)
            self._mapping = None

    def leader_of(self, queue: str) -> Node:
        """The node that leads this quorum queue now."""
        asked = next(node for node in self.nodes if node.running)
        # `list_queues` lets each node write to the command itself, which only one of them reaches.
        names = "element(4, amqqueue:get_name(Queue))"
        leaders = f"{{{names}, element(2, amqqueue:get_pid(Queue))}}"
        told = asked.control(
            "eval",
            f"[{leaders} || Queue <- rabbit_amqqueue:list(), is_tuple(amqqueue:get_pid(Queue))].",
        )
        found = re.search(rf'<<"{re.escape(queue)}">>,\s*\'?(sigma\d@n\d)', told)
        assert found, f"no leader of {queue}: {told}"
        return next(node for node in self.nodes if node.name == found[1])

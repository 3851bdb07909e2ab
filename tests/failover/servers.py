"""The servers of a failover: a synchronous pair of PostgreSQL, and a cluster of RabbitMQ."""

from __future__ import annotations

from functools import cached_property

from tests.kit.postgres_pair import PostgresPair
from tests.kit.rabbit_cluster import RabbitCluster
from tests.kit.servers import Postgres, Rabbit, Servers


class SeveralServers(Servers):
    """As `Servers`, but of each kind there are several."""

    def __init__(self) -> None:
        super().__init__(own=True)

    @cached_property
    def postgres(self) -> Postgres:
        pair = PostgresPair(self._private_folder() / "postgres")
        pair.start()
        return self._kept(Postgres(pair.url, pair))

    @cached_property
    def rabbit(self) -> Rabbit:
        cluster = RabbitCluster(self._private_folder() / "rabbit")
        cluster.start()
        return self._kept(Rabbit(cluster.url, cluster))

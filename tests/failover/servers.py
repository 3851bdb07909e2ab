"""The servers of a failover: a synchronous pair of PostgreSQL, and a cluster of RabbitMQ."""

from __future__ import annotations

from functools import cached_property

from tests.kit.postgres_pair import PostgresPair
from tests.kit.servers import Postgres, Servers


class PairedServers(Servers):
    """As `Servers`, but PostgreSQL is a pair. Each is opened when somebody first asks for it."""

    def __init__(self) -> None:
        super().__init__(own=True)

    @cached_property
    def postgres(self) -> Postgres:
        pair = PostgresPair(self._private_folder() / "postgres")
        pair.start()
        return self._kept(Postgres(pair.url, pair))

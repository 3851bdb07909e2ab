"""The fixtures of tests/kit; its README says how to use them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.kit.identities import Keyring
from tests.kit.servers import RABBITMQCTL, Servers
from tests.kit.service import Services
from tests.kit.stack import Stack

WORKERS_MAX = 4
WORKERS_OF_A_CORE = 2
"""Half of the time a test waits: for a poll, for a process that starts, for what must not come."""

NOT_FOR_POWER_CUTS = {"fsync": "off", "full_page_writes": "off", "wal_level": "logical"}
"""Settings of the PostgreSQL of a run. What is committed outlives a killed server, which tests do,
and not a machine that loses its power, which they cannot do. A workspace can be moved from it."""


def pytest_xdist_auto_num_workers() -> int:
    """How many processes run the tests under `-n auto`, each with servers of its own.

    One where the tests have to share the virtual host of a broker that they may not divide.
    """
    if "SIGMA_AMQP_URL" in os.environ and RABBITMQCTL not in os.environ:
        return 1
    return min(WORKERS_MAX, WORKERS_OF_A_CORE * (os.cpu_count() or 1))


def pytest_configure() -> None:
    """Hypothesis tries the same examples in every run, however long they take."""
    settings.register_profile(
        "sigma",
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("sigma")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, then those with many tests.

    A process that begins a long file when the others have nothing left keeps them all waiting.
    """
    tests = Counter(item.path for item in items)
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: (item.path not in slow, -tests[item.path], str(item.path)))


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """PostgreSQL and RabbitMQ, from the environment or private."""
    opened = Servers(postgres=NOT_FOR_POWER_CUTS)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def keyring() -> Keyring:
    """The keys with which a test of one service acts as anybody."""
    return Keyring("auth_service", "workflow_service")


@pytest.fixture
async def services(servers: Servers, keyring: Keyring) -> AsyncIterator[Services]:
    """Runs the real app of one service in this process, on a migrated database of its own."""
    async with Services(servers, keyring) as opened:
        yield opened


@pytest.fixture(scope="session")
def running_stack(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The processes behind `stack`; tests use `stack`."""
    opened = Stack(servers, tmp_path_factory.mktemp("stack"))
    try:
        opened.wait_ready()
        yield opened
    finally:
        opened.close()


@pytest.fixture
async def stack(running_stack: Stack, request: pytest.FixtureRequest) -> AsyncIterator[Stack]:
    """All four services as processes. What the test stops or kills is running again after it."""
    async with running_stack.lent():
        yield running_stack
        _show_logs(running_stack, request)


@pytest.fixture(scope="session")
def own_servers(servers: Servers) -> Iterator[Servers]:
    """Servers that a test may stop and kill: never those of the environment."""
    if servers.may_be_stopped:
        yield servers
        return
    opened = Servers(own=True, postgres=NOT_FOR_POWER_CUTS)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def running_breakable_stack(
    own_servers: Servers, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """The processes behind `breakable_stack`."""
    if own_servers is request.getfixturevalue("servers"):
        yield request.getfixturevalue("running_stack")
        return
    opened = Stack(own_servers, tmp_path_factory.mktemp("breakable-stack"))
    try:
        opened.wait_ready()
        yield opened
    finally:
        opened.close()


@pytest.fixture
async def breakable_stack(
    running_breakable_stack: Stack, request: pytest.FixtureRequest
) -> AsyncIterator[Stack]:
    """As `stack`, and the test may also stop `.servers.rabbit.private` and `.postgres.private`."""
    async with running_breakable_stack.lent():
        yield running_breakable_stack
        _show_logs(running_breakable_stack, request)


OUTCOME = pytest.StashKey[dict[str, pytest.TestReport]]()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Remember how a test went, so that its fixtures can show the logs of a failure."""
    report = yield
    item.stash.setdefault(OUTCOME, {})[report.when] = report
    return report


def _show_logs(stack: Stack, request: pytest.FixtureRequest) -> None:
    outcome = request.node.stash.get(OUTCOME, {}).get("call")
    if outcome is not None and outcome.failed:
        for process in stack.processes:
            print(process.tail())  # noqa: T201  pytest shows it beside the failure

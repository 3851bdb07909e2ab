"""A gateway between callers and services that the test plays."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from shared.http import address_check
from tests.kit.identities import Keyring
from tests.kit.service import Services
from tests.service.gateway.system import System


async def _nothing_wrong(*_: object) -> None:
    """Every service is the right one."""


@pytest.fixture
async def system(
    services: Services, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[System]:
    # Who plays a service here counts every request; addresses are checked in test_address_check.py.
    monkeypatch.setattr(address_check, "complaint_about", _nothing_wrong)
    opened = await System(services, keyring).open()
    yield opened
    opened.over.set()

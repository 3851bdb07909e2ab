"""Whose address counts: the connection's, or what trusted proxies say."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from gateway.peers import peer_of

PROXY = "10.0.0.1"


@pytest.mark.parametrize(
    ("hops", "headers", "peer"),
    [
        (0, [], PROXY),
        (0, ["192.0.2.1"], PROXY),
        (1, [], PROXY),
        (1, ["192.0.2.1"], "192.0.2.1"),
        (1, ["198.51.100.1, 192.0.2.1"], "192.0.2.1"),
        (1, ["198.51.100.1", "192.0.2.1"], "192.0.2.1"),
        (2, ["198.51.100.1, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
        (2, ["192.0.2.1"], "192.0.2.1"),
        (1, ["192.0.2.1:4711"], "192.0.2.1"),
        (1, ["2001:db8::1"], "2001:db8::1"),
        (1, ["[2001:db8::1]:4711"], "2001:db8::1"),
        (1, ["192.0.2.1, "], PROXY),
        (1, ["me"], PROXY),
        (1, ["9" * 100_000], PROXY),
    ],
)
def test_the_peer_is_the_one_whom_the_last_trusted_proxy_names(hops, headers, peer):
    request = make_mocked_request(
        "GET", "/", headers=CIMultiDict([("X-Forwarded-For", value) for value in headers])
    ).clone(remote=PROXY)
    assert peer_of(request, hops) == peer

"""Addresses that name several servers, and which of the servers is used."""

from __future__ import annotations

import asyncio

import pytest

from shared.database import addresses
from shared.database.addresses import NoneTakesWrites, candidates, first_to_open, for_libpq
from shared.process.hosts import each_host


@pytest.mark.parametrize(
    ("url", "each"),
    [
        ("amqp://u:p@a:1/v", ["amqp://u:p@a:1/v"]),
        ("amqp://u:p@a:1,b,c:3/v", ["amqp://u:p@a:1/v", "amqp://u:p@b/v", "amqp://u:p@c:3/v"]),
        ("amqp://u:p,q@a:1", ["amqp://u:p,q@a:1"]),
        ("amqp://[::1]:1,[::2]:1", ["amqp://[::1]:1", "amqp://[::2]:1"]),
    ],
)
def test_each_host_has_an_address_of_its_own(url: str, each: list[str]):
    assert list(each_host(url)) == each


def test_of_several_servers_only_one_that_takes_writes_will_do():
    assert candidates("postgresql://a/d?sslmode=require") == ("postgresql://a/d?sslmode=require",)
    assert candidates("postgresql://a,b/d?sslmode=require") == (
        "postgresql://a/d?sslmode=require&target_session_attrs=read-write",
        "postgresql://b/d?sslmode=require&target_session_attrs=read-write",
    )
    assert candidates("postgresql://a,b/d?target_session_attrs=primary") == (
        "postgresql://a/d?target_session_attrs=primary",
        "postgresql://b/d?target_session_attrs=primary",
    )
    assert for_libpq("postgresql://a,b/d") == "postgresql://a,b/d?target_session_attrs=read-write"
    assert for_libpq("postgresql://a/d") == "postgresql://a/d"


async def test_the_next_is_asked_when_one_is_silent_and_what_comes_late_is_discarded(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(addresses, "ASK_NEXT_AFTER_S", 0.0)
    asked: list[str] = []
    discarded: list[str] = []
    late = asyncio.Event()

    async def open_one(url: str) -> str:
        asked.append(url)
        if url == "silent":
            try:
                await late.wait()
            except asyncio.CancelledError:
                # As a library that has its connection at this very moment.
                return "too late"
        return url

    assert await first_to_open(["silent", "there"], open_one, discarded.append) == "there"
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert asked == ["silent", "there"]
    assert discarded == ["too late"]


async def test_a_refusal_is_told_only_when_all_have_refused():
    async def open_one(url: str) -> str:
        if url == "there":
            return url
        raise ConnectionRefusedError("of an address")

    assert await first_to_open(["away", "there"], open_one, lambda _: None) == "there"
    with pytest.raises(NoneTakesWrites, match=r"^a server cannot be reached$"):
        await first_to_open(["away", "gone"], open_one, lambda _: None)
    with pytest.raises(ConnectionRefusedError):
        await first_to_open(["away"], open_one, lambda _: None)

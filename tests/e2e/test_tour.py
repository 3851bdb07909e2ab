"""The tour of README, and the same in Python and in JavaScript, against the whole system."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.kit.demo import seed_demo
from tests.kit.pages import block
from tests.kit.servers import ROOT

README = ROOT / "README.md"
STEPS = ("log-in", "read", "create", "set-price", "transitions")
PRICE_IN_DENMARK = {"scope": {"dim-market": "seg-dk"}, "value": 249}
STILL_MISSING = ["category", "description", "material", "color"]


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await asyncio.wait_for(process.communicate(), 60))[0].decode()
    assert process.returncode == 0, output
    return output


def needed(program: str, package: str) -> str:
    found = shutil.which(program)
    if found is None:
        why = f"there is no {program} on this machine (Debian: apt install {package})"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    return str(found)


@pytest.fixture
async def sigma(stack):
    workspace = await stack.workspace()
    await seed_demo(workspace)
    return workspace


async def prices(sigma) -> list:
    record = (await sigma.admin.get("/records/ent-harbour-cap")).ok()
    return record["values"]["price"]


async def test_readme(stack, sigma):
    """The commands as they stand there, but for the address and the login."""
    needed("curl", "curl")
    readme = README.read_text()
    script = "\necho\n".join(block(name, page=README) for name in STEPS)
    for told, here in (
        ("http://127.0.0.1:8080", stack.url),
        ("admin@sigma.io", sigma.email("user-admin")),
        ('"password": "admin"', f'"password": "{stack.password}"'),
    ):
        assert told in script
        script = script.replace(told, here)
    output = await run(needed("bash", "bash"), "-euo", "pipefail", "-c", script)
    read, created, changed, transitions = map(json.loads, output.split("\n")[-4:])
    assert read["id"] == "ent-coastal-wb"
    assert created["id"] == changed["id"] == "ent-harbour-cap"
    assert changed["values"]["price"] == [PRICE_IN_DENMARK]
    (reason,) = transitions[0]["reasons"]
    assert [each["attribute"] for each in reason["missingIn"]] == STILL_MISSING
    told = re.search(r"complete to (\d+) % and needs (\d+) %", readme)
    assert told is not None
    assert (reason["score"], reason["minimum"]) == (int(told[1]), int(told[2]))
    again = await run("bash", "-euo", "pipefail", "-c", script)
    assert '"error":"CONFLICT"' in again


PROGRAMS = pytest.mark.parametrize(
    ("program", "package", "tour"),
    [(sys.executable, "python3", "docs/tour.py"), ("node", "nodejs", "docs/tour.mjs")],
    ids=["python", "javascript"],
)


class Meddler:
    """The gateway behind a bad door: the first read is 503, and somebody is always quicker once."""

    def __init__(self, sigma, url: str) -> None:
        self.sigma = sigma
        self.url = url
        self.busy = self.meddled = False
        self.app = web.Application()
        self.app.router.add_route("*", "/{path:.*}", self.pass_on)

    async def pass_on(self, request: web.Request) -> web.Response:
        if request.method == "GET" and not self.busy:
            self.busy = True
            body = {"error": "SERVICE_UNAVAILABLE", "message": "not now"}
            return web.json_response(body, status=503, headers={"Retry-After": "0"})
        if request.method == "PATCH" and not self.meddled:
            self.meddled = True
            change = {"scope": {"dim-market": "seg-dk"}, "value": 299}
            path = "/records/ent-harbour-cap/values/price"
            (await self.sigma.admin.patch(path, change)).ok()
        wanted = ("authorization", "content-type", "if-match")
        headers = {name: value for name, value in request.headers.items() if name.lower() in wanted}
        sent = await request.read()
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method, self.url + request.path, data=sent, headers=headers
            ) as to,
        ):
            kept = {
                name: to.headers[name] for name in ("ETag", "Content-Type") if name in to.headers
            }
            return web.Response(status=to.status, body=await to.read(), headers=kept)


@PROGRAMS
async def test_the_tour_in_a_program(stack, sigma, program, package, tour):
    """The second time a service is away for a moment, and somebody else is quicker once."""
    command = (needed(program, package), tour)
    login = (sigma.email("user-admin"), stack.password)
    first = await run(*command, stack.url, *login)
    assert "Read ent-coastal-wb: Coastal Windbreaker\nCreated ent-harbour-cap\n" in first
    assert 'Version "1" has the prices []\nThe price in Denmark is 249 in version "2"\n' in first
    missing = re.findall(r"^  (\S+) has no value in ", first, flags=re.MULTILINE)
    assert missing == STILL_MISSING
    assert await prices(sigma) == [PRICE_IN_DENMARK]
    async with TestServer(Meddler(sigma, stack.url).app) as server:
        second = await run(*command, str(server.make_url("")), *login)
    assert "Nothing to create: 409 CONFLICT: Entity with id 'ent-harbour-cap'" in second
    assert re.findall(r'Version "(\d)"', second) == ["2", "3"]
    assert await prices(sigma) == [PRICE_IN_DENMARK]


@PROGRAMS
async def test_a_tour_says_where_it_ends(stack, program, package, tour):
    command = (needed(program, package), tour, stack.url, "nobody@acme.example", "wrong")
    with pytest.raises(AssertionError) as ended:
        await run(*command)
    assert str(ended.value).startswith(
        "The tour ends here: 401 UNAUTHORIZED: Invalid email or password (X-Request-Id "
    )

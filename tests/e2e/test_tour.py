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
from tests.kit.eventually import eventually
from tests.kit.pages import block
from tests.kit.servers import ROOT

README = ROOT / "README.md"
CHANGE_SETS = ROOT / "docs" / "how-to" / "propose-changes.md"
IMPORTS = ROOT / "docs" / "how-to" / "import-and-export.md"
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
    output = (await asyncio.wait_for(process.communicate(), 240))[0].decode()
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


def as_here(script: str, stack, sigma) -> str:
    """The commands as they stand on a page, but for the address and the login."""
    for told, here in (
        ("http://127.0.0.1:8080", stack.url),
        ("admin@sigma.io", sigma.email("user-admin")),
        ('"password": "admin"', f'"password": "{stack.password}"'),
    ):
        assert told in script
        script = script.replace(told, here)
    return script


async def test_readme(stack, sigma):
    needed("curl", "curl")
    readme = README.read_text()
    script = as_here("\necho\n".join(block(name, page=README) for name in STEPS), stack, sigma)
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


async def test_the_example_of_an_import(stack, sigma, tmp_path):
    needed("curl", "curl")
    blocks = [block(name, page=IMPORTS) for name in ("export", "change", "try", "import")]
    script = "\necho\n".join([f"cd {tmp_path}", block("log-in", page=README), *blocks])
    output = await run("bash", "-euo", "pipefail", "-c", as_here(script, stack, sigma))
    tried, begun = map(json.loads, output.split("\n")[-2:])
    assert (tried["updated"], tried["failed"], tried["complete"]) == (2, 1, True)
    assert begun["id"] == "imp-changed"

    async def has_ended() -> bool:
        job = (await sigma.admin.get("/imports/imp-changed")).ok()
        return job["status"] == "partial"

    await eventually(has_ended, within_s=60)
    (told,) = tried["errors"]
    assert (told["row"], told["column"]) == (3, "_categories")
    assert told["message"].startswith("Value 'webshop/hats' for '_categories' is no category")
    script = "\n".join([block("log-in", page=README), block("refused", page=IMPORTS)])
    refused = await run("bash", "-euo", "pipefail", "-c", as_here(script, stack, sigma))
    assert refused.splitlines()[-1].startswith("ent-no-such-thing,1,webshop/hats,4,")
    for category, listed in (("tops", {"ent-coastal-wb"}), ("jackets", {"ent-coastal-wb"})):
        found = (await sigma.admin.get(f"/categories/ctg-{category}/entities?limit=100")).ok()
        assert listed <= {one["id"] for one in found["items"]}
        assert "ent-tide-tee" not in {one["id"] for one in found["items"]}


async def test_the_example_of_a_change_set(stack, sigma):
    needed("curl", "curl")
    steps = ("make-a-key", "propose", "decide", "apply")
    blocks = [block("log-in", page=README), *(block(name, page=CHANGE_SETS) for name in steps)]
    output = await run(
        "bash", "-euo", "pipefail", "-c", as_here("\necho\n".join(blocks), stack, sigma)
    )
    assert json.loads(output.splitlines()[-1]).get("status") == "applied", output
    prices = (await sigma.admin.get("/records/ent-coastal-wb")).ok()["values"]["price"]
    assert {"scope": {"dim-market": "seg-dk"}, "value": 849} in prices
    assert (await sigma.admin.get("/records/ent-beanie")).status == 200
    assert (await sigma.admin.get("/records/ent-old-cap")).status == 404


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

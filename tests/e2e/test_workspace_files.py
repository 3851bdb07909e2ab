"""A workspace as a file: exported, imported elsewhere, exported again."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import pytest

from deploy.workspaces import exporting, importing
from deploy.workspaces.databases import Failed, delete_rows, occupied, opened
from deploy.workspaces.tables import AUTH, RECORDS, TABLES, WORKFLOW
from tests.kit.demo import seed_demo
from tests.kit.eventually import eventually
from tests.kit.pages import block
from tests.kit.servers import ROOT
from tests.kit.stack import Stack
from tests.kit.workspace import Workspace

PAGE = ROOT / "docs" / "how-to" / "move-a-workspace.md"


def quiet(_line: str) -> None:
    pass


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path: Path, content: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
async def elsewhere(stack: Stack):
    """The three databases of another, empty installation."""
    made = {
        service: await stack.servers.postgres.new_database(service)
        for service in (AUTH, RECORDS, WORKFLOW)
    }
    yield made
    for url in made.values():
        await stack.servers.postgres.drop_database(url)


async def rests(workspace: Workspace) -> None:
    """Until the workers have nothing to do for it: the same file is exported again then."""
    conn = await asyncpg.connect(workspace.records_database)

    async def nothing_left() -> bool:
        left = await conn.fetchval(
            """SELECT (SELECT count(*) FROM jobs WHERE workspace_id = $1)
                    + (SELECT count(*) FROM outbox WHERE workspace_id = $1)
                    + (SELECT count(*) FROM search_texts_behind WHERE workspace_id = $1)""",
            workspace.id,
        )
        return left == 0

    try:
        await eventually(nothing_left)
    finally:
        await conn.close()


def command(
    urls: Mapping[str, str], name: str, workspace: Workspace, file: Path
) -> subprocess.CompletedProcess[str]:
    """The command of the page."""
    env = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "WORKSPACE": workspace.id,
        "FILE": str(file),
        "SIGMA_AUTH_DATABASE_URL": urls[AUTH],
        "SIGMA_RECORDS_DATABASE_URL": urls[RECORDS],
        "SIGMA_WORKFLOW_DATABASE_URL": urls[WORKFLOW],
    }
    return subprocess.run(
        ["sh", "-c", block(name, PAGE)],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )


async def test_a_workspace_goes_out_and_comes_in_as_it_was(
    stack: Stack, elsewhere: dict[str, str], tmp_path: Path
):
    workspace, neighbour = await stack.workspace(), await stack.workspace()
    await seed_demo(workspace)
    await neighbour.attribute("neighbours-own-attribute")
    await rests(workspace)
    file, again = tmp_path / "one.zip", tmp_path / "two.zip"
    done = command(stack.databases, "file", workspace, file)
    assert (done.returncode, done.stderr) == (0, "")
    assert file.stat().st_mode & 0o777 == 0o600
    content = members(file)
    everything = b"\n".join(content.values())
    assert b"neighbours-own-attribute" not in everything
    assert neighbour.id.encode() not in everything
    for secret in (b"$argon2id$", b"whsec_", b"1.test."):
        assert secret not in everything
    for table in ("records", "variants", "categories", "category_assignments", "saved_queries"):
        assert content[f"{RECORDS}/{table}.tsv"], table
    assert content[f"{WORKFLOW}/change_set_operations.tsv"]

    for service in (AUTH, WORKFLOW):
        # Of an event that came late, when the workspace was here before: it is in nobody's way.
        conn = await asyncpg.connect(elsewhere[service])
        await conn.execute("INSERT INTO news (workspace_id, heard) VALUES ($1, 7)", workspace.id)
        await conn.close()
    done = command(elsewhere, "import", workspace, file)
    assert (done.returncode, done.stderr) == (0, "")
    await exporting.export(elsewhere, workspace.id, again, quiet)
    ours, theirs = members(file), members(again)
    for each in (ours, theirs):
        each["manifest.json"] = re.sub(rb'"exportedAt": "[^"]*"', b"", each["manifest.json"])
    assert ours == theirs

    # It is there now, and nowhere twice.
    done = command(elsewhere, "import", workspace, file)
    assert done.returncode == 1
    assert done.stderr.startswith(f"the workspace '{workspace.id}' is there already: {AUTH}.")

    # Back where it came from, and in use.
    before = (await workspace.admin.get("/records?limit=200")).ok()["items"]
    async with opened(stack.databases) as databases:
        for database in databases.values():
            await delete_rows(database.conn, database.tables, workspace.id)
        assert await occupied(databases, workspace.id) == []
    await importing.import_file(stack.databases, file, quiet)
    credentials = {"email": workspace.email("user-admin"), "password": stack.password}
    assert (await stack.caller().post("/auth/login", credentials)).status == 401
    assert (await stack.caller().post("/auth/login", credentials | {"password": ""})).status == 400
    await stack.administer(
        *("set-password", "--workspace", workspace.id, "--id", "user-admin", "--password-stdin"),
        stdin=stack.password,
    )
    admin = await workspace.log_in(workspace.email("user-admin"))
    assert (await admin.get("/records?limit=200")).ok()["items"] == before
    body = {"id": "ent-new", "schemaId": "schema-apparel", "values": {}}
    assert (await admin.post("/records", body)).status == 201
    assert (await admin.get("/records/ent-coastal-wb/audit")).ok()["items"]
    [webhook] = (await admin.get("/webhooks")).ok()
    assert not webhook["active"]


async def test_a_file_that_is_not_whole_is_refused(
    stack: Stack, elsewhere: dict[str, str], tmp_path: Path
):
    workspace = await stack.workspace()
    await workspace.attribute("name")
    await rests(workspace)
    file = tmp_path / "one.zip"
    await exporting.export(stack.databases, workspace.id, file, quiet)
    content = members(file)
    attributes = f"{RECORDS}/attributes.tsv"
    cut = tmp_path / "cut.zip"
    cut.write_bytes(file.read_bytes()[:-40])
    flipped = tmp_path / "flipped.zip"
    data = bytearray(file.read_bytes())
    data[data.index(b"attributes.tsv") + 50] ^= 0xFF  # Behind the head of the member.
    flipped.write_bytes(data)
    other = content[attributes].replace(workspace.id.encode(), b"ws-of-others")
    newer = content["manifest.json"].replace(b'"version": 1', b'"version": 2')
    migrated = re.sub(
        rb'"records_service": "\d+"', b'"records_service": "0001"', content["manifest.json"]
    )
    without = {name: data for name, data in content.items() if name != attributes}
    for path, why in {
        tmp_path / "absent.zip": "cannot be read: No such file",
        cut: "is not a whole export: it is cut off",
        flipped: f"is damaged: {attributes}",
        written(tmp_path / "less.zip", without): "does not have the members of its manifest",
        written(tmp_path / "more.zip", content | {"x": b""}): "members of its manifest: x",
        written(tmp_path / "other.zip", content | {attributes: other}): "row is of another",
        written(tmp_path / "changed.zip", content | {attributes: b""}): "is not that of the export",
        written(tmp_path / "newer.zip", content | {"manifest.json": newer}): "expected version 1",
        written(tmp_path / "none.zip", {"manifest.json": b"[]"}): "is not an export of a workspace",
        written(tmp_path / "old.zip", content | {"manifest.json": migrated}): "at revision 0001",
    }.items():
        with pytest.raises(Failed, match=re.escape(why)):
            await importing.import_file(elsewhere, path, quiet)
    async with opened(elsewhere) as databases:
        assert await occupied(databases, workspace.id) == []


async def test_a_file_brings_nothing_into_another_workspace(
    stack: Stack, elsewhere: dict[str, str], tmp_path: Path
):
    """Made by somebody who knows how a file is read: its checksums are right."""
    workspace = await stack.workspace()
    await rests(workspace)
    file = tmp_path / "one.zip"
    await exporting.export(stack.databases, workspace.id, file, quiet)
    content = members(file)
    manifest = json.loads(content["manifest.json"])
    former = f"{AUTH}/former_users.tsv"
    columns = manifest["members"][former]["columns"]
    mine, others, when = workspace.id.encode(), b"ws-of-others", b"2026-01-01 00:00:00+00"

    def made(name: str, columns: list[str], data: bytes) -> Path:
        digest = hashlib.sha256(data).hexdigest()
        member = {"columns": columns, "rows": data.count(b"\n"), "sha256": digest}
        told = manifest | {"members": manifest["members"] | {former: member}}
        return written(
            tmp_path / name, content | {"manifest.json": json.dumps(told).encode(), former: data}
        )

    # The id of a user stands where the workspace of a row is expected.
    turned = b"\t".join((mine, others, when)) + b"\n"
    # PostgreSQL takes the end of the first row for that of all, and reads no further than `\\.`.
    rows = [b"\t".join((of, b"user-x", when)) for of in (mine, others)]
    returns = b"\r".join((*rows, rb"\.", b"\n")) + mine + b"\t\n"
    for path, why in {
        made("turned.zip", [*columns[1::-1], *columns[2:]], turned): "first column of",
        made("returns.zip", columns, returns): "a row has a carriage return",
    }.items():
        with pytest.raises(Failed, match=why):
            await importing.import_file(elsewhere, path, quiet)
    conn = await asyncpg.connect(elsewhere[AUTH])
    assert await conn.fetchval("SELECT count(*) FROM former_users") == 0
    await conn.close()


async def test_an_interrupted_import_goes_on_or_is_undone(
    stack: Stack, elsewhere: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    workspace = await stack.workspace()
    await workspace.attribute("name")
    await rests(workspace)
    file = tmp_path / "one.zip"
    await exporting.export(stack.databases, workspace.id, file, quiet)

    async def interrupted() -> None:
        """Ended between the commits of workflow_service and auth_service."""
        with monkeypatch.context() as patched:
            patched.setattr(importing, "OPENED_LAST", (RECORDS, WORKFLOW))
            await importing.import_file(elsewhere, file, quiet)

    real_forget = importing._forget

    async def forgets_nothing(*_of: object) -> None:
        pass

    monkeypatch.setattr(importing, "_forget", forgets_nothing)
    await interrupted()
    monkeypatch.setattr(importing, "_forget", real_forget)
    later = tmp_path / "later.zip"
    await workspace.attribute("other")
    await rests(workspace)
    await exporting.export(stack.databases, workspace.id, later, quiet)
    with pytest.raises(Failed, match="an import of another file"):
        await importing.import_file(elsewhere, later, quiet)
    await importing.undo(elsewhere, workspace.id, quiet)
    async with opened(elsewhere) as databases:
        assert await occupied(databases, workspace.id) == []
    with pytest.raises(Failed, match="no import of"):
        await importing.undo(elsewhere, workspace.id, quiet)

    monkeypatch.setattr(importing, "_forget", forgets_nothing)
    await interrupted()
    await importing.import_file(elsewhere, file, quiet)
    # Interrupted again, after the last commit.
    monkeypatch.setattr(importing, "_forget", real_forget)
    with pytest.raises(Failed, match="is imported whole"):
        await importing.undo(elsewhere, workspace.id, quiet)
    await importing.import_file(elsewhere, file, quiet)
    with pytest.raises(Failed, match="is there already"):
        await importing.import_file(elsewhere, file, quiet)
    with pytest.raises(Failed, match="no import of"):
        await importing.undo(elsewhere, workspace.id, quiet)
    again = tmp_path / "again.zip"
    await exporting.export(elsewhere, workspace.id, again, quiet)
    assert [name for name in members(file) if members(file)[name] != members(again)[name]] in (
        [],
        ["manifest.json"],
    )


async def test_what_would_be_half_done_is_not_exported(stack: Stack, tmp_path: Path):
    workspace = await stack.workspace()
    conn = await asyncpg.connect(workspace.records_database)
    await conn.execute(
        """INSERT INTO jobs (workspace_id, kind, key, turn, requests, lost_at)
           VALUES ($1, 'convert', 'x', 1, 1, 'infinity')""",
        workspace.id,
    )
    await conn.close()
    file = tmp_path / "one.zip"
    with pytest.raises(Failed, match=r"are not finished \(convert\)"):
        await exporting.export(stack.databases, workspace.id, file, quiet, jobs_wait_s=0)
    with pytest.raises(Failed, match="there is no workspace 'ws-unknown'"):
        await exporting.export(stack.databases, "ws-unknown", file, quiet)
    assert not any(await asyncio.to_thread(lambda: list(tmp_path.iterdir())))
    file.write_text("there")
    with pytest.raises(Failed, match="exists already"):
        await exporting.export(stack.databases, workspace.id, file, quiet)
    assert set(TABLES) == {AUTH, RECORDS, WORKFLOW}


def test_wrong_settings_are_named_together(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "deploy.workspaces", "move", "ws-acme"],
        cwd=ROOT,
        env={"SIGMA_AUTH_DATABASE_URL": "http://nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    for name in ("AUTH", "RECORDS", "WORKFLOW"):
        assert f"SIGMA_{name}_DATABASE_URL" in done.stderr

"""The migration step: whole or not at all, once, whoever else runs it, and it says what it did."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import orjson
import pytest

from shared.database import migrations
from shared.database.migrations import MigrationFailed, apply, main
from tests.kit.eventually import eventually

ROOT = Path(__file__).resolve().parents[3]

Service = Callable[..., str]

NEXT_CALL = "-- in the next call of run_sql"
_numbers = itertools.count()


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    """`service(first_sql, second_sql, ...)` makes an importable service with these revisions."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def made(*revisions: str, before: str = "", name: str = "", in_transaction: bool = True) -> str:
        package = name or f"service_{next(_numbers)}"
        versions = tmp_path / package / "migrations" / "versions"
        versions.mkdir(parents=True, exist_ok=True)
        (tmp_path / package / "__init__.py").touch()
        for number, sql in enumerate(revisions, start=1):
            down = f'"{number - 1:04}"' if number > 1 else "None"
            (versions / f"{number:04}_step_{number}.py").write_text(
                "from shared.database.migrations import outside_transaction, run_sql\n\n"
                f'revision = "{number:04}"\ndown_revision = {down}\n{before}\n\n'
                "def upgrade() -> None:\n"
                + ("" if in_transaction else "  with outside_transaction():\n")
                + "".join(f"    run_sql({piece!r})\n" for piece in sql.split(NEXT_CALL))
            )
        return package

    return made


async def fetchval(url: str, query: str) -> object:
    conn = await asyncpg.connect(url)
    try:
        return await conn.fetchval(query)
    finally:
        await conn.close()


async def test_an_empty_database_gets_everything_in_order_and_hears_of_it(
    service: Service, database_url: str
):
    name = service("CREATE TABLE a (x int)", "INSERT INTO a VALUES (1); INSERT INTO a VALUES (2)")
    said: list[str] = []
    assert await apply(name, database_url, said.append) == ["0001", "0002"]
    assert said == ["0001 step 1", "0002 step 2", "at 0002"]
    assert await fetchval(database_url, "SELECT array_agg(x) FROM a") == [1, 2]
    assert await fetchval(database_url, "SELECT version_num FROM alembic_version") == "0002"


async def test_the_second_run_does_nothing(service: Service, database_url: str):
    name = service("CREATE TABLE a (x int)")
    await apply(name, database_url)
    said: list[str] = []
    assert await apply(name, database_url, said.append) == []
    assert said == ["at 0001: nothing to do"]


async def test_only_what_is_missing_is_applied(service: Service, database_url: str):
    name = service("CREATE TABLE a (x int)")
    await apply(name, database_url)
    service("CREATE TABLE a (x int)", "CREATE TABLE b (x int)", name=name)
    assert await apply(name, database_url) == ["0002"]


async def test_two_at_once_apply_each_revision_once(
    service: Service, database_url: str, tmp_path: Path
):
    """In processes of their own, as in two replicas; and several in one process."""
    name = service("CREATE TABLE a (x int)", "INSERT INTO a VALUES (1)")
    holder = await asyncpg.connect(database_url)
    await holder.execute("SELECT pg_advisory_lock($1)", migrations.LOCK_KEY)
    started = [
        asyncio.create_task(
            asyncio.to_thread(run, name, "--database-url", database_url, path=tmp_path)
        )
        for _ in range(2)
    ]
    waiting = "SELECT count(*) = 2 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    await eventually(lambda: holder.fetchval(waiting))
    assert await holder.fetchval("SELECT to_regclass('alembic_version')") is None
    await holder.close()
    said = sorted(done.stdout for done in await asyncio.gather(*started))
    assert said == [
        f"{name}: 0001 step 1\n{name}: 0002 step 2\n{name}: at 0002\n",
        f"{name}: at 0002: nothing to do\n",
    ]
    service("", "", "INSERT INTO a VALUES (2)", name=name)
    applied = await asyncio.gather(*(apply(name, database_url) for _ in range(4)))
    assert sorted(map(len, applied)) == [0, 0, 0, 1]
    assert await fetchval(database_url, "SELECT array_agg(x) FROM a") == [1, 2]


async def test_sql_is_executed_exactly_as_it_is_written(service: Service, database_url: str):
    """Colons, per cent signs, dollars, braces and semicolons inside functions mean nothing here."""
    name = service(
        """CREATE TABLE a (x text DEFAULT ':name %s %(x)s {y} $1 \\');
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN NEW.x := NEW.x || '; -- '; RETURN NEW; END $$;
        CREATE TRIGGER touch BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION touch();
        INSERT INTO a DEFAULT VALUES; INSERT INTO a SELECT '{"a":1}'::jsonb->>'a';"""
    )
    await apply(name, database_url)
    assert await fetchval(database_url, "SELECT array_agg(x) FROM a") == [
        ":name %s %(x)s {y} $1 \\; -- ",
        "1; -- ",
    ]


async def test_a_revision_that_fails_leaves_nothing_of_itself(service: Service, database_url: str):
    failing = f"CREATE TABLE b (x int) {NEXT_CALL} INSERT INTO nowhere VALUES (1)"
    name = service("CREATE TABLE a (x int)", failing)
    with pytest.raises(MigrationFailed) as told:
        await apply(name, database_url)
    assert str(told.value) == (
        'revision 0002 (step 2): relation "nowhere" does not exist. It was rolled back'
    )
    assert await fetchval(database_url, "SELECT version_num FROM alembic_version") == "0001"
    assert await fetchval(database_url, "SELECT to_regclass('b')") is None


async def test_an_index_can_be_built_while_the_table_is_written(
    service: Service, database_url: str
):
    name = service("CREATE TABLE a (x int)")
    await apply(name, database_url)
    service(
        "CREATE TABLE a (x int)",
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS a_x ON a (x)",
        name=name,
        in_transaction=False,
    )
    assert await apply(name, database_url) == ["0002"]
    assert await fetchval(database_url, "SELECT to_regclass('a_x')::text") == "a_x"


async def test_what_fails_outside_a_transaction_is_to_be_run_again(
    service: Service, database_url: str
):
    steps = f"CREATE TABLE a (x int) {NEXT_CALL} SELECT 1 / 0"
    with pytest.raises(MigrationFailed, match=r"0001 \(step 1\): division by zero\. Run it again"):
        await apply(service(steps, in_transaction=False), database_url)
    assert await fetchval(database_url, "SELECT to_regclass('a')::text") == "a"
    assert await fetchval(database_url, "SELECT count(*) FROM alembic_version") == 0


async def test_statements_have_a_time_limit_only_inside_a_transaction(
    service: Service, database_url: str
):
    note = "CREATE TABLE IF NOT EXISTS a (x text); INSERT INTO a VALUES (current_setting('{}'))"
    both = NEXT_CALL.join(note.format(name) for name in ("statement_timeout", "lock_timeout"))
    await apply(name := service(both), database_url)
    service(both, both, name=name, in_transaction=False)
    await apply(name, database_url)
    limits = await fetchval(database_url, "SELECT array_agg(x) FROM a")
    assert limits == ["1min", "1s", "0", "1s"]


async def test_a_lock_that_does_not_come_is_not_waited_for(
    service: Service, database_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT", "50ms")
    monkeypatch.setattr(migrations, "RETRY_PAUSE_S", 0.05)
    name = service("CREATE TABLE a (x int)")
    await apply(name, database_url)
    service("CREATE TABLE a (x int)", "ALTER TABLE a ADD COLUMN y int", name=name)
    holder = await asyncpg.connect(database_url)
    await holder.execute("BEGIN; LOCK TABLE a")
    with pytest.raises(MigrationFailed, match=r"0002.*lock timeout.*It was rolled"):
        await apply(name, database_url)
    monkeypatch.setattr(migrations, "ATTEMPTS_MAX", 1000)
    later = asyncio.create_task(apply(name, database_url))
    await asyncio.sleep(0.1)
    await holder.execute("COMMIT")
    assert await later == ["0002"]
    await holder.close()


async def test_an_index_that_locks_nobody_out_may_wait_longer(
    service: Service, database_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT", "50ms")
    monkeypatch.setattr(migrations, "ATTEMPTS_MAX", 1)
    name = service("CREATE TABLE a (x int)")
    await apply(name, database_url)
    service("", "CREATE INDEX CONCURRENTLY a_x ON a (x)", name=name, in_transaction=False)
    older = await asyncpg.connect(database_url)
    await older.execute("BEGIN; INSERT INTO a VALUES (1)")
    asyncio.get_running_loop().call_later(0.3, lambda: asyncio.ensure_future(older.close()))
    assert await apply(name, database_url) == ["0002"]


async def test_older_code_leaves_a_newer_database_alone(
    service: Service, database_url: str, tmp_path: Path
):
    name = service("CREATE TABLE a (x int)", "CREATE TABLE b (x int)")
    await apply(name, database_url)
    (tmp_path / name / "migrations" / "versions" / "0002_step_2.py").unlink()
    said: list[str] = []
    assert await apply(name, database_url, said.append) == []
    assert said == ["the database is at revision 0002, newer than this code (0001): nothing to do"]


async def test_the_database_keeps_which_code_it_works_with(
    service: Service, database_url: str, tmp_path: Path
):
    """Until a later revision says something else."""
    name = service("CREATE TABLE a (x int)", before='oldest_code = "0001"')
    service("CREATE TABLE a (x int)", "CREATE TABLE b (x int)", name=name)
    first = tmp_path / name / "migrations" / "versions" / "0001_step_1.py"
    first.write_text(first.read_text().replace("\n\n\n", '\noldest_code = "0001"\n\n', 1))
    await apply(name, database_url)
    kept = "SELECT version_num || ' ' || oldest_code FROM alembic_version"
    assert await fetchval(database_url, kept) == "0002 0001"


async def test_a_database_of_something_else_is_refused(service: Service, database_url: str):
    name = service("CREATE TABLE a (x int)")
    await apply(name, database_url)
    conn = await asyncpg.connect(database_url)
    await conn.execute("UPDATE alembic_version SET version_num = '0000-other'")
    await conn.close()
    with pytest.raises(MigrationFailed, match="which this code does not have"):
        await apply(name, database_url)


async def everything_in(url: str) -> object:
    """Tables with their columns and comments, and what is applied."""
    return await fetchval(
        url,
        """SELECT jsonb_agg(jsonb_build_array(
                     attrelid::regclass, attname, obj_description(attrelid, 'pg_class'),
                     (SELECT version_num FROM alembic_version)) ORDER BY attrelid, attname)
             FROM pg_attribute
             JOIN pg_class ON pg_class.oid = attrelid
            WHERE relnamespace = 'public'::regnamespace""",
    )


def not_of(name: str, other: str) -> str:
    return f"this is not the database of {name}, but that of {other}: check SIGMA_DATABASE_URL"


@pytest.mark.parametrize("revisions", [1, 2, 3])
async def test_the_database_of_another_service_is_refused_and_not_touched(
    service: Service, database_url: str, revisions: int
):
    """Whether that is at an older, at the same or at a newer revision."""
    other = service("CREATE TABLE a (x int)", "CREATE TABLE b (x int)")
    await apply(other, database_url)
    before = await everything_in(database_url)
    name = service(*(f"CREATE TABLE c{n} (x int)" for n in range(revisions)))
    said: list[str] = []
    with pytest.raises(MigrationFailed) as told:
        await apply(name, database_url, said.append)
    assert str(told.value) == not_of(name, other)
    assert said == []
    assert await everything_in(database_url) == before


async def test_a_database_from_before_it_said_whose_it_is_is_known_by_its_tables(servers):
    """As it is after the migrations of an older version, which left no comment."""
    url = await servers.postgres.new_database("workflow_service")
    conn = await asyncpg.connect(url)
    await conn.execute("COMMENT ON TABLE alembic_version IS NULL")
    before = await everything_in(url)
    for other in ("auth_service", "records_service"):
        with pytest.raises(MigrationFailed, match=f"not the database of {other}, but another one"):
            await apply(other, url)
    assert await everything_in(url) == before
    assert await apply("workflow_service", url) == []
    comment = "SELECT obj_description('alembic_version'::regclass, 'pg_class')"
    assert await fetchval(url, comment) == "workflow_service"
    await conn.close()
    await servers.postgres.drop_database(url)


async def test_an_empty_database_belongs_to_nobody(service: Service, database_url: str):
    """A first migration that failed on the wrong database leaves it to the right service."""
    with pytest.raises(MigrationFailed):
        await apply(service("CREATE TABEL a (x int)"), database_url)
    assert await apply(service("CREATE TABLE a (x int)"), database_url) == ["0001"]


def test_the_command_refuses_the_database_of_another_service_in_one_line(
    service: Service, database_url: str, tmp_path: Path
):
    other, name = service("CREATE TABLE a (x int)"), service("CREATE TABLE b (x int)")
    assert run(other, "--database-url", database_url, path=tmp_path).returncode == 0
    done = run(name, "--database-url", database_url, path=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        f"{name}: {not_of(name, other)}\n",
    )


async def test_two_revisions_after_the_same_one_are_told_apart_before_anything_runs(
    service: Service, database_url: str, tmp_path: Path
):
    name = service("CREATE TABLE a (x int)", "CREATE TABLE b (x int)")
    versions = tmp_path / name / "migrations" / "versions"
    text = (versions / "0002_step_2.py").read_text()
    (versions / "0003_rival.py").write_text(text.replace('revision = "0002"', 'revision = "0003"'))
    with pytest.raises(MigrationFailed, match="do not form one chain"):
        await apply(name, database_url)


def run(name: str, *arguments: str, path: Path, **environment: str):
    return subprocess.run(
        [sys.executable, "-m", "shared.database.migrations", name, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(path), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_says_what_it_applied(service: Service, database_url: str, tmp_path: Path):
    name = service("CREATE TABLE a (x int)")
    done = run(name, "--database-url", database_url, path=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        f"{name}: 0001 step 1\n{name}: at 0001\n",
        "",
    )
    again = run(name, path=tmp_path, SIGMA_DATABASE_URL=database_url)
    assert (again.returncode, again.stdout) == (0, f"{name}: at 0001: nothing to do\n")


def test_the_command_lists_revisions_and_stamps(
    service: Service, database_url: str, tmp_path: Path
):
    name = service("CREATE TABLE a (x int)", "CREATE TABLE b (x int)")
    listed = run(name, "--history", path=tmp_path).stdout.splitlines()
    assert [line.partition(" (head)")[0].partition(",")[0] for line in listed] == [
        "0001 -> 0002",
        "<base> -> 0001",
    ]
    stamped = run(name, "--database-url", database_url, "--stamp", "0001", path=tmp_path)
    assert (stamped.returncode, stamped.stdout, stamped.stderr) == (0, "", "")
    done = run(name, "--database-url", database_url, path=tmp_path)
    assert done.stdout == f"{name}: 0002 step 2\n{name}: at 0002\n"
    wrong = run(name, "--database-url", database_url, "--stamp", "0009", path=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr.startswith(f"{name}: Can't locate revision identified by '0009'")


def test_the_command_fails_aloud(service: Service, database_url: str, tmp_path: Path):
    name = service("CREATE TABEL a (x int)")
    done = run(name, "--database-url", database_url, path=tmp_path)
    assert (done.returncode, done.stdout) == (1, f"{name}: 0001 step 1\n")
    assert 'syntax error at or near "TABEL"' in done.stderr
    assert "Traceback" not in done.stderr


def test_a_service_that_is_not_there(capsys: pytest.CaptureFixture[str]):
    assert main(["nobody", "--database-url", "postgresql://nobody@127.0.0.1:1/none"]) == 2
    assert capsys.readouterr().err == "nobody: there is no service 'nobody'\n"


def test_a_database_that_is_not_there(service: Service, capsys: pytest.CaptureFixture[str]):
    name = service("CREATE TABLE a (x int)")
    assert main([name, "--database-url", "postgresql://nobody:word@127.0.0.1:1/none"]) == 1
    told = capsys.readouterr().err
    assert "the database cannot be reached" in told
    assert "word" not in told


def test_a_database_that_is_not_named(
    service: Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("SIGMA_DATABASE_URL", raising=False)
    assert main([service("CREATE TABLE a (x int)")]) == 2
    assert "SIGMA_DATABASE_URL is missing" in capsys.readouterr().err
    assert main(["nobody"]) == 2
    assert capsys.readouterr().err.count("\n") == 3, "this, and that SIGMA_DATABASE_URL is missing"


async def test_large_values_of_records_are_compressed_with_lz4_where_the_server_knows_it(servers):
    url = await servers.postgres.new_database("records_service")
    knows = "lz4" in str(
        await fetchval(
            url, "SELECT enumvals FROM pg_settings WHERE name = 'default_toast_compression'"
        )
    )
    compressed = await fetchval(
        url,
        """SELECT array_agg(DISTINCT relname::text)
             FROM pg_attribute JOIN pg_class c ON c.oid = attrelid AND NOT relispartition
            WHERE attcompression = 'l'""",
    )
    holding = ["audit", "feed", "import_chunks", "outbox", "records", "search_texts", "variants"]
    assert compressed == (holding if knows else None)
    await servers.postgres.drop_database(url)


async def test_empty_texts_that_claimed_a_unique_value_are_freed(
    service: Service, database_url: str, tmp_path: Path
):
    """Rows of the revision before, as the service wrote them then, meet the migration."""
    before = service()
    versions = ROOT / "records_service" / "migrations" / "versions"
    for revision in sorted(versions.glob("0*.py")):
        if revision.name < "0007":
            shutil.copy(revision, tmp_path / before / "migrations" / "versions")
    assert (await apply(before, database_url))[-1] == "0006"
    conn = await asyncpg.connect(database_url)
    rows = [
        (workspace, attribute, scope, hashlib.sha256(orjson.dumps(value)).digest(), record)
        for workspace, attribute, scope, value, record in (
            ("ws-a", "attr-sku", "", "", "ent-1"),
            ("ws-b", "attr-sku", '{"dim-market":"seg-dk"}', "", "ent-2"),
            ("ws-a", "attr-sku", "", "AB-1", "ent-3"),
            ("ws-a", "attr-ean", "", " ", "ent-1"),
            ("ws-a", "attr-count", "", 0, "ent-1"),
        )
    ]
    await conn.executemany("INSERT INTO unique_values VALUES ($1, $2, $3, $4, $5)", rows)
    await conn.execute("COMMENT ON TABLE alembic_version IS NULL")
    assert (await apply("records_service", database_url))[0] == "0007"
    left = await conn.fetch("SELECT record_id, attribute_id FROM unique_values ORDER BY 1, 2")
    assert [tuple(row) for row in left] == [
        ("ent-1", "attr-count"),
        ("ent-1", "attr-ean"),
        ("ent-3", "attr-sku"),
    ]
    await conn.close()


async def test_what_schemas_have_lost_is_remembered_by_triggers_and_found_in_records(
    service: Service, database_url: str, tmp_path: Path
):
    """The statements are those of the revision before, which goes on running."""
    before = service()
    versions = ROOT / "records_service" / "migrations" / "versions"
    for revision in sorted(versions.glob("0*.py")):
        if revision.name < "0010":
            shutil.copy(revision, tmp_path / before / "migrations" / "versions")
    assert (await apply(before, database_url))[-1] == "0009"
    conn = await asyncpg.connect(database_url)
    part = """INSERT INTO {} (workspace_id, id, alias, body, version, changed_in, created_at,
                              updated_at)
              VALUES ($1, $2, $2, $3, 1, 1, now(), now())"""

    def groups(*attribute_ids: str) -> str:
        return orjson.dumps({"attributeGroups": [{"attributeIds": attribute_ids}]}).decode()

    for workspace in ("ws-a", "ws-b"):
        for attribute in ("attr-has", "attr-lost", "attr-later"):
            await conn.execute(part.format("attributes"), workspace, attribute, "{}")
        await conn.execute(
            part.format("schemas"), workspace, "schema-x", groups("attr-has", "attr-later")
        )
    values = {one: [] for one in ("attr-has", "attr-lost", "attr-later", "attr-deleted")}
    await conn.execute(
        """INSERT INTO records (workspace_id, id, schema_id, version, values, created_at,
                                updated_at, created_by, updated_by)
           VALUES ('ws-a', 'ent-1', 'schema-x', 1, $1, now(), now(), 'user-x', 'user-x')""",
        orjson.dumps(values).decode(),
    )
    await conn.execute("COMMENT ON TABLE alembic_version IS NULL")
    assert (await apply("records_service", database_url))[:2] == ["0010", "0011"]
    found = "SELECT workspace_id, schema_id, attribute_id FROM lost_attributes ORDER BY 3"
    lost = ("ws-a", "schema-x", "attr-lost")
    assert [tuple(row) for row in await conn.fetch(found)] == [lost]
    change = "UPDATE schemas SET body = $1 WHERE id = 'schema-x'"
    await conn.execute(change, groups("attr-has"))
    assert [tuple(row) for row in await conn.fetch(found)] == [
        ("ws-a", "schema-x", "attr-later"),
        lost,
    ]
    await conn.execute(change, groups("attr-has", "attr-later", "attr-lost"))
    assert await conn.fetch(found) == []
    await conn.close()

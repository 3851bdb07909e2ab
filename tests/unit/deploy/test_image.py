"""What gets into the image, and how podman is set up. `make images-check` tries the rest."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.image import context
from deploy.image.base import OFFICIAL
from deploy.image.check import ENTRY_POINTS
from deploy.image.podman import Machine, settings
from deploy.local.failure import StartFailed

USUAL = Machine(
    files_max=1 << 20,
    processes_max=-1,
    may_raise_limits=True,
    hybrid_cgroups=False,
    systemd=True,
)


def test_a_usual_machine_keeps_its_settings():
    assert settings(USUAL) == ""


def test_limits_that_cannot_be_raised_are_those_of_the_machine():
    bound = replace(USUAL, files_max=20_000, processes_max=96_365, may_raise_limits=False)
    assert settings(bound) == (
        '[containers]\ndefault_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]\n'
    )
    # -1 stands for no limit.
    assert '["nofile=20000:20000"]' in settings(replace(bound, processes_max=-1))
    assert settings(replace(bound, files_max=1 << 20)) == ""
    assert settings(replace(bound, may_raise_limits=True)) == ""


def test_hybrid_cgroups_need_runc_and_a_machine_without_systemd_its_own_manager():
    assert settings(replace(USUAL, hybrid_cgroups=True)) == '[engine]\nruntime = "runc"\n'
    assert settings(replace(USUAL, systemd=False)) == (
        '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
    )


def test_what_runs_gets_into_the_image_and_nothing_else():
    files = set(context.product_files())
    assert {
        "LICENSE",
        "gateway/openapi.json",
        "gateway/static/index.html",
        "gateway/static/LICENSE",
        "records_service/__main__.py",
        "shared/database/migrations.py",
        "shared/database/alembic_env/env.py",
    } <= files
    for service in ("auth_service", "records_service", "workflow_service"):
        assert any(re.fullmatch(rf"{service}/migrations/.*0001.*\.py", name) for name in files)
    assert {name.partition("/")[0] for name in files} == {*context.PACKAGES, "LICENSE"}
    assert not [name for name in files if name.endswith(("README.md", "schema.sql", ".pyc"))]


def test_the_context_has_the_same_modes_whatever_the_clone_has(tmp_path, monkeypatch):
    wheels = tmp_path / "wheels"
    wheels.mkdir(mode=0o700)
    (wheels / "one.whl").write_bytes(b"x")
    (wheels / "one.whl").chmod(0o600)
    monkeypatch.setattr(context, "wheels", lambda _: wheels)
    folder = tmp_path / "context"
    context.write(folder)
    assert {path.name for path in folder.iterdir()} == {
        "Containerfile",
        "product",
        "requirements-image.lock",
        "requirements.lock",
        "wheels",
    }
    written = [folder, *folder.rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in written if path.is_dir()} == {0o755}
    assert {path.stat().st_mode & 0o777 for path in written if path.is_file()} <= {0o644, 0o755}
    with pytest.raises(StartFailed, match="not empty"):
        context.write(folder)


@pytest.mark.parametrize("exports", [False, True])
def test_what_jobs_upload_with_is_in_the_image_only_if_it_is_asked_for(
    tmp_path, monkeypatch, exports
):
    asked = []
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    monkeypatch.setattr(context, "wheels", lambda locks: asked.append(locks) or wheels)
    context.write(tmp_path / "context", exports=exports)
    locked = (tmp_path / "context" / "requirements.lock").read_text()
    assert [f"\n{name}==" in locked for name in ("aiobotocore", "asyncssh", "aiohttp")] == [
        exports,
        exports,
        True,
    ]
    first = "requirements-exports.lock" if exports else "requirements.lock"
    assert asked == [(first, "requirements-image.lock")]


def test_wheels_are_those_for_the_base_and_not_for_this_python():
    names = context.platforms("aarch64")
    assert names[0] == "manylinux_2_36_aarch64"
    assert "manylinux2014_aarch64" in names
    containerfile = context.CONTAINERFILE.read_text()
    assert f"ARG BASE={OFFICIAL}\n" in containerfile
    assert f"python:{context.PYTHON}-" in OFFICIAL


def test_what_is_locked_for_the_image_has_hashes():
    locked = (context.ROOT / "requirements-image.lock").read_text()
    assert re.findall(r"^([a-z-]+)==", locked, re.MULTILINE) == ["dumb-init", "pip"]
    assert locked.count("--hash=sha256:") >= 2


def test_every_command_that_operators_are_told_is_tried_in_the_image():
    page = (context.ROOT / "docs" / "operations.md").read_text()
    told = set(re.findall(r'(?:python|"\$PYTHON") -m ([a-z_.]+)', page))
    # Once in the life of an installation, from a checkout: `deploy` is not in the image.
    told -= {"venv", "deploy.citus", "deploy.dashboards"}
    assert told == {command[0] for command in ENTRY_POINTS}


def test_the_init_is_the_first_process_and_the_rest_is_python():
    text = Path(context.CONTAINERFILE).read_text()
    assert '\nENTRYPOINT ["/opt/sigma/init", "--", "python", "-m"]\n' in text
    assert "\nUSER 10001:10001\n" in text

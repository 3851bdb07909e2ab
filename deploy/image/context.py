"""The folder from which the image is built: the product's tracked files, and the locked wheels.

Only what is listed here gets into the image; a file that git does not know never does.
"""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.failure import StartFailed
from shared import VERSION

ROOT = Path(__file__).resolve().parents[2]
CONTAINERFILE = ROOT / "deploy" / "image" / "Containerfile"
PACKAGES = ("gateway", "auth_service", "records_service", "workflow_service", "shared")
LOCKS = ("requirements.lock", "requirements-image.lock")
EXPORTS_LOCK = "requirements-exports.lock"
"""All of `requirements.lock`, and the clients of the destinations of export jobs."""
PYTHON = "3.11"
"""That of both bases; wheels are fetched for it, whatever Python fetches them."""
_INPUTS = (*LOCKS, EXPORTS_LOCK, str(CONTAINERFILE))
_NOT_NEEDED = re.compile(r"(.*/)?(README\.md|schema\.sql|\.gitignore)")
_GLIBC_MINORS = range(5, 37)
"""Wheels may ask for glibc 2.36 at most, which Debian 12 has."""
_LEGACY = ("manylinux1", "manylinux2010", "manylinux2014")


@dataclass(frozen=True, slots=True)
class Source:
    """What an image is built from."""

    version: str
    revision: str
    epoch: int
    """Seconds since 1970 of the commit, which all files of the image bear."""


def source() -> Source:
    """The present state; `revision` ends in `-modified` if the product differs from the commit."""
    commit, epoch = _git("log", "-1", "--format=%H %ct").split()
    changed = _git("status", "--porcelain", "--", *PACKAGES, *_INPUTS, "LICENSE")
    return Source(VERSION, f"{commit}-modified" if changed else commit, int(epoch))


def product_files() -> list[str]:
    """The files of the product that a running system needs, relative to the repository."""
    tracked = _git("ls-files", "-z", "--", *PACKAGES, "LICENSE").split("\0")
    return sorted(
        name
        for name in tracked
        if name and not _NOT_NEEDED.fullmatch(name) and (ROOT / name).is_file()
    )


def write(folder: Path, *, exports: bool = False) -> None:
    """Fill the folder, which must be empty or missing; `exports` adds what jobs upload with."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise StartFailed("Context", f"{folder} is not empty", "Name a new folder.")
    for name in product_files():
        _copy(ROOT / name, folder / "product" / name)
    locks = _locks(exports=exports)
    for name, lock in zip(LOCKS, locks, strict=True):
        _copy(ROOT / lock, folder / name)
    _copy(CONTAINERFILE, folder / CONTAINERFILE.name)
    shutil.copytree(wheels(locks), folder / "wheels")
    for each in (folder, *folder.rglob("*")):
        # The image must not depend on the umask of whoever cloned the repository.
        each.chmod(0o755 if each.is_dir() or each.stat().st_mode & 0o100 else 0o644)


def wheels(locks: Sequence[str] = LOCKS) -> Path:
    """A folder with exactly the locked wheels; fetched once for each state of the lock files."""
    locked = hashlib.sha256(b"\0".join((ROOT / name).read_bytes() for name in locks))
    locked.update(" ".join(platforms(platform.machine())).encode())
    kept = ROOT / ".run" / "image" / f"wheels-{locked.hexdigest()[:16]}"
    if not kept.exists():
        for former in kept.parent.glob("wheels-*"):
            shutil.rmtree(former)
        fetched = kept.with_name(f"fetched-{kept.name}")
        shutil.rmtree(fetched, ignore_errors=True)
        _download(fetched, locks)
        fetched.rename(kept)
    return kept


def platforms(machine: str) -> list[str]:
    """Pip's names of platforms whose wheels run on the base, as on this machine's processor."""
    names = [f"manylinux_2_{minor}_{machine}" for minor in reversed(_GLIBC_MINORS)]
    return [*names, *(f"{legacy}_{machine}" for legacy in _LEGACY)]


def _locks(*, exports: bool) -> tuple[str, ...]:
    """What the image's `LOCKS` are copies of."""
    return (EXPORTS_LOCK, *LOCKS[1:]) if exports else LOCKS


def _download(folder: Path, locks: Sequence[str]) -> None:
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--only-binary", ":all:", "--require-hashes", "--no-deps", "--dest", str(folder)),
        *("--implementation", "cp", "--python-version", PYTHON),
    ]
    for name in platforms(platform.machine()):
        command += ["--platform", name]
    for name in locks:
        command += ["-r", str(ROOT / name)]
    print("Fetching the locked wheels", flush=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = "\n".join(f"  | {line}" for line in done.stderr.strip().splitlines()[-15:])
        raise StartFailed("Wheels", f"pip download failed:\n{last}")


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, to)


def _git(*command: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-c", f"safe.directory={ROOT}", *command],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise StartFailed("git", "it is not installed", "Install the package git.") from None
    if done.returncode != 0:
        why = f"`git {command[0]}` failed: {done.stderr.strip()}"
        raise StartFailed("git", why, "The image is built from a clone of the repository.")
    return done.stdout.strip()

"""The base of the image: the official Python image, or one made from Debian's packages.

The second is for machines that reach no image registry. It has Debian's essential packages, Python
and the certificate authorities, and is made once: `--renew-base` makes it again, with Debian's
updates.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from deploy.image.podman import built, podman, run
from deploy.local.binaries import ensure_tool
from deploy.local.failure import StartFailed, last_lines

OFFICIAL = "docker.io/library/python:3.11-slim-bookworm"
DEBIAN = "localhost/sigma-base:bookworm"
SUITE = "bookworm"
_PULLED_WITHIN_S = 300.0
_EPOCH = "1672531200"
"""The time that files of the Debian base bear: two bases of the same packages are the same."""
_PACKAGES = (
    "usr-is-merged,python3-minimal,libpython3-stdlib,libstdc++6,ca-certificates,tzdata,netbase,tini"
)
_MERGED = Path("/usr/share/mmdebstrap/hooks/merged-usr")
_LEFT_OUT = ("doc/*", "man/*", "locale/*", "info/*")


def choose(asked: str, *, renew: bool = False) -> str:
    """The name of the base, present in podman's storage.

    `asked` is a name of an image, `debian`, or empty: the official image, and Debian's packages if
    that cannot be had.
    """
    if asked not in {"", "debian"}:
        _pull(asked, renew=renew)
        return asked
    if not asked:
        try:
            _pull(OFFICIAL, renew=renew)
        except StartFailed as failure:
            reason = failure.why.splitlines()[-1].removeprefix("  | ")
            print(
                f"{OFFICIAL} cannot be had, so Debian's packages are used:\n  {reason}", flush=True
            )
        else:
            return OFFICIAL
    if renew or not _is_here(DEBIAN):
        _make_debian()
    return DEBIAN


def identity(name: str) -> str:
    """The digest of its manifest."""
    return podman("image", "inspect", "--format", "{{.Digest}}", name)


def _is_here(name: str) -> bool:
    return run(["image", "exists", name]).returncode == 0


def _pull(name: str, *, renew: bool) -> None:
    if renew or not _is_here(name):
        podman("pull", "--quiet", name, within_s=_PULLED_WITHIN_S)


def _make_debian() -> None:
    program = ensure_tool("mmdebstrap")
    print(f"Making {DEBIAN} from Debian's packages (half a minute)", flush=True)
    with tempfile.TemporaryDirectory(prefix="sigma-base-") as folder:
        tar, log = Path(folder) / "base.tar", Path(folder) / "log"
        command = [
            *(str(program), "--variant=essential", f"--include={_PACKAGES}"),
            f"--hook-dir={_MERGED}",
            *(f"--dpkgopt=path-exclude=/usr/share/{each}" for each in _LEFT_OUT),
            "--dpkgopt=path-include=/usr/share/doc/*/copyright",
            # The image has bytecode of its own, so that of the packages would only take space.
            '--customize-hook=find "$1/usr/lib" -name __pycache__ -prune -exec rm -rf {} +',
            *(SUITE, str(tar)),
        ]
        with log.open("wb") as said:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
                | {"SOURCE_DATE_EPOCH": _EPOCH, "LANG": "C.UTF-8"},
                check=False,
            )
        if done.returncode != 0:
            lines = "\n".join(f"  | {line}" for line in last_lines(log))
            raise StartFailed("Base", f"mmdebstrap failed:\n{lines}", "Or name an image: --base.")
        # Not `podman import`: its image bears the time at which it was made.
        (Path(folder) / "Containerfile").write_text("FROM scratch\nADD base.tar /\n")
        built(DEBIAN, Path(folder), "--timestamp", _EPOCH)

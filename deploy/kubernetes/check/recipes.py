"""The commands of the documentation, run as they stand there.

A comment before a block names it: `<!-- run by deploy/kubernetes/check/recipes.py: keys -->`.

    keys      deploy/kubernetes/README.md: makes the Secret `sigma-keys`, which is only printed here
    upgrade   docs/operations.md: applies the manifests step by step; kubectl would need a cluster,
              so a stand-in notes how it was called
"""

from __future__ import annotations

import base64
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent
from typing import Final, NamedTuple

from deploy.kubernetes.check.rendering import ROOT, CheckFailed, Document, documents, tool

KEYS: Final = "sigma-keys"
_PAGES: Final = {"keys": "deploy/kubernetes/README.md", "upgrade": "docs/operations.md"}
_STAND_IN: Final = """#!/bin/sh
[ "$1" = kustomize ] || for argument; do printf '%s\\n' "$argument"; done >>"$CALLS"
[ "$1" = kustomize ] || echo -- >>"$CALLS"
"""
_TERM: Final = re.compile(r"([\w./-]+)(?:=([\w.-]+)| (in|notin) \(([\w.,-]+)\))(?:,|$)")


class Step(NamedTuple):
    """A call of kubectl: its command, and the label selector it was given."""

    command: str
    selector: str


@cache
def made_keys() -> Mapping[str, str]:
    """What the documented commands put into the Secret `sigma-keys`."""
    printing = f"{shlex.quote(str(tool('kubectl')))} -n sigma-pim --dry-run=client -o yaml"
    said = _run("keys", {"PYTHON": sys.executable, "KUBECTL": printing})
    (secret,) = documents(said)
    if secret["kind"] != "Secret" or secret["metadata"]["name"] != KEYS:
        raise CheckFailed(f"the commands of {_PAGES['keys']} do not make the Secret {KEYS}")
    return {
        name: base64.b64decode(value).decode() for name, value in secret.get("data", {}).items()
    }


@cache
def upgrade_steps() -> tuple[Step, ...]:
    """How the documented commands of an upgrade call kubectl, in their order."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "kubectl").write_text(_STAND_IN)
        (folder / "kubectl").chmod(0o755)
        calls = folder / "calls"
        path = f"{folder}:/usr/local/bin:/usr/bin:/bin"
        _run("upgrade", {"PATH": path, "CALLS": str(calls)}, folder)
        found = []
        for call in calls.read_text().split("--\n")[:-1]:
            words = call.splitlines()
            command = " ".join(word for word in words if word in ("apply", "wait", "rollout"))
            found.append(Step(command, words[words.index("-l") + 1]))
    return tuple(found)


def selected(selector: str, document: Document) -> bool:
    """Whether kubectl's `-l` selects the document by its own labels."""
    terms = list(_TERM.finditer(selector))
    if "".join(term.group() for term in terms) != selector:
        raise CheckFailed(f"the label selector {selector} is not understood")
    labels = document["metadata"].get("labels", {})
    for term in terms:
        key, value, operator, values = term.groups()
        among = labels.get(key) in (values.split(",") if values else [value])
        if among == (operator == "notin"):
            return False
    return True


def documented_order() -> list[str]:
    """The services in the order of an upgrade of single processes, by docs/operations.md."""
    page = (ROOT / _PAGES["upgrade"]).read_text()
    found = re.search(r"^ *for service in ((?:\w+:\d+ ?)+); do$", page, re.MULTILINE)
    return [one.partition(":")[0] for one in found[1].split()] if found else []


def _run(name: str, variables: Mapping[str, str], folder: Path = ROOT) -> str:
    script = _block(ROOT / _PAGES[name], name)
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", **variables}
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CheckFailed(f"the commands '{name}' of {_PAGES[name]} failed: {done.stderr.strip()}")
    return done.stdout


def _block(page: Path, name: str) -> str:
    marked = page.read_text().partition(f"recipes.py: {name} -->")[2]
    found = next(_fences(marked), None)
    if found is None:
        raise CheckFailed(f"{page.name} has no commands '{name}'")
    return found


def _fences(text: str) -> Iterator[str]:
    for found in re.finditer(r"^( *)```sh\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE):
        yield dedent(found[2])

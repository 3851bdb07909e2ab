"""Renders overlays with the `kubectl` of the environment of `requirements-kubernetes.lock`."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[3]
OVERLAYS: Final = ROOT / "deploy" / "kubernetes" / "overlays"
TOOLS: Final = ROOT / ".run" / "kubernetes-venv" / "bin"

Document = dict[str, Any]


class CheckFailed(Exception):
    """A tool is missing or failed; says what to do."""


def overlays() -> list[str]:
    """The names of all overlays."""
    return sorted(folder.name for folder in OVERLAYS.iterdir() if folder.is_dir())


def rendered(overlay: str) -> str:
    """What `kubectl apply -k` would apply, as YAML."""
    done = run([tool("kubectl"), "kustomize", OVERLAYS / overlay])
    if done.returncode != 0:
        raise CheckFailed(f"{overlay} cannot be rendered: {done.stderr.strip()}")
    return done.stdout


def documents(text: str) -> list[Document]:
    """The documents of a YAML stream."""
    return [one for one in yaml.load_all(text, yaml.CSafeLoader) if one is not None]


def tool(name: str) -> Path:
    """A program of the environment for Kubernetes."""
    found = TOOLS / name
    if not found.exists():
        raise CheckFailed(f"{name} is not installed: run make environment-kubernetes")
    return found


def run(command: list[str | Path], folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with what it says."""
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

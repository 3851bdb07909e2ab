"""Command line: `python -m deploy.kubernetes.check [--crds FOLDER]`.

Exit codes: 0 all is well; 1 it is not, and one message names all problems; 2 usage error.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from deploy.kubernetes.check import (
    planted,
    planted_configuration,
    planted_network,
    planted_pods,
    schemas,
    security,
)
from deploy.kubernetes.check.manifests import Manifests
from deploy.kubernetes.check.rendering import CheckFailed, documents, overlays, rendered
from deploy.kubernetes.check.rules import RULES, broken

_ERRORS = (*planted_configuration.ERRORS, *planted_network.ERRORS, *planted_pods.ERRORS)


def main() -> int:
    """Check all overlays; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.kubernetes.check", description="Check the Kubernetes manifests."
    )
    parser.add_argument(
        "--crds",
        metavar="FOLDER",
        type=Path,
        help="CustomResourceDefinitions of the operators; check/schemas/README.md says which",
    )
    asked = parser.parse_args()
    if asked.crds is not None and not asked.crds.is_dir():
        parser.error(f"argument --crds: {asked.crds} is no folder")
    start = time.monotonic()
    try:
        texts = {overlay: rendered(overlay) for overlay in overlays()}
        problems = _check(texts, asked.crds)
    except CheckFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    if problems:
        print("The Kubernetes manifests are not valid:", file=sys.stderr)
        for problem in problems:
            print(f"  {problem}", file=sys.stderr)
        return 1
    print(f"{time.monotonic() - start:.0f} s, all is well")
    return 0


def _check(texts: Mapping[str, str], crds: Path | None) -> list[str]:
    found = {overlay: documents(text) for overlay, text in texts.items()}
    problems = [*schemas.kubernetes_problems(texts)]
    used: set[tuple[str, str]] = set()
    for overlay, those in found.items():
        problems += schemas.custom_problems(overlay, those)
        manifests = Manifests(overlay, those)
        for rule in RULES:
            left, exceptions = security.without_exceptions(broken(rule, manifests))
            problems += [f"{overlay}, {rule.__name__}: {problem}" for problem in left]
            used |= exceptions
        print(f"{overlay}: {len(those)} documents, {len(RULES)} rules")
    unused = set(security.EXCEPTIONS) - used
    problems += [f"nothing needs the exception {workload} {what}" for what, workload in unused]
    if crds is not None:
        disagreeing, count = schemas.definition_problems(crds, found)
        problems += disagreeing
        print(f"{count} custom resources against the definitions of {crds}")
    else:
        print("custom resources only against schemas/: --crds names no definitions of operators")
    missed = planted.missed(_ERRORS, found)
    print(f"{len(_ERRORS)} planted errors, {len(missed)} missed")
    return problems + missed


if __name__ == "__main__":
    sys.exit(main())

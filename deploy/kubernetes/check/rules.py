"""All rules: functions of an overlay's documents, whose docstrings say what must be true."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from deploy.kubernetes.check import (
    capacity,
    configuration,
    network,
    observability,
    programs,
    security,
)
from deploy.kubernetes.check.manifests import Manifests

Rule = Callable[[Manifests], Iterator[str]]

RULES: Final[tuple[Rule, ...]] = (
    *configuration.RULES,
    *programs.RULES,
    *network.RULES,
    *capacity.RULES,
    *observability.RULES,
    *security.RULES,
)


def broken(rule: Rule, manifests: Manifests) -> list[str]:
    """What the rule finds, each once; also that documents lack what the rule looks at."""
    found: dict[str, None] = {}
    try:
        for problem in rule(manifests):
            found[problem] = None
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        found[f"a document is not as the rule expects: {error!r}"] = None
    return list(found)

"""Pages name only what exists: files, headings, commands, modules and metrics."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from deploy.local.databases import ADDRESSES

ROOT = Path(__file__).parents[2]
FOLDERS = ("", "docs", "docs/adr", "docs/how-to", "benchmarks", "tests/kit", "tests/clients")
SERVICES = ("gateway", "auth_service", "records_service", "workflow_service", "shared", "deploy")
PAGES = sorted(page for folder in FOLDERS for page in (ROOT / folder).glob("*.md"))
PAGES += sorted(page for folder in SERVICES for page in (ROOT / folder).rglob("*.md"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, as GitHub makes them, and those set by hand."""
    text = page.read_text()
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE
    )
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'(?:id|name)="([^"]+)"', text))


def named(page: Path) -> list[str]:
    path = re.compile(r"[\w.-][\w./-]*/[\w./-]+\.(?:py|md|mjs|json|yml|toml|sql)")
    return [code for code in re.findall(r"`([^`\n]+)`", page.read_text()) if path.fullmatch(code)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_only_what_exists(page: Path):
    text = page.read_text()
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target) or target.startswith("/docs"):
            continue
        place = (page.parent / file).resolve() if file else page
        if not place.exists() or (anchor and anchor not in anchors(place)):
            missing.append(target)
    # From the project's folder, or from that of the page. `make run` makes its own, `.run`.
    missing += [
        place
        for place in named(page)
        if not any((start / place).exists() for start in (ROOT, page.parent))
        and place != f".run/{ADDRESSES}"
    ]
    commands = re.findall(r"(?:`|^ {4}|^\$ )make ([a-z-]+)", text, re.MULTILINE)
    missing += [f"make {target}" for target in commands if target not in TARGETS]
    for module in re.findall(r"python3? -m ([\w.]+)", text):
        if module not in ("venv", "pip") and importlib.util.find_spec(module) is None:
            missing.append(f"python -m {module}")
    assert missing == []


def test_a_decision_that_is_referred_to_exists():
    numbers = {page.name[:4] for page in (ROOT / "docs/adr").glob("0*.md")}
    files = [path for folder in SERVICES for path in (ROOT / folder).rglob("*.py")]
    for path in [*files, *PAGES]:
        for number in re.findall(r"docs/adr/(\d{4})", path.read_text()):
            assert number in numbers, f"{path}: docs/adr/{number}"


def test_the_numbers_of_decisions_have_no_gap_and_head_them():
    pages = sorted((ROOT / "docs/adr").glob("0*.md"))
    numbers = [int(page.name[:4]) for page in pages]
    assert numbers == list(range(1, len(numbers) + 1))
    for number, page in zip(numbers, pages, strict=True):
        assert page.read_text().startswith(f"# {number}. "), page.name


def test_a_metric_that_is_documented_exists():
    code = "".join(
        path.read_text() for folder in SERVICES for path in (ROOT / folder).rglob("*.py")
    )
    databases = {f"sigma_{service}" for service in SERVICES}
    for page in PAGES:
        for name in {*re.findall(r"\bsigma_[a-z_]+[a-z]\b", page.read_text())} - databases:
            # A counter and a histogram are declared without what Prometheus appends.
            declared = name.removesuffix("_total").removesuffix("_bucket")
            assert declared in code, f"{page}: {name}"

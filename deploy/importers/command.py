"""The command that imports a catalogue of one kind from a folder into a Sigma workspace.

    export SIGMA_API_KEY=...
    .venv/bin/python -m deploy.importers.akeneo --data FOLDER --url https://sigma.example.com

Exit codes: 0 everything that has a place in Sigma is there; 1 something was refused or the move was
broken off, and the report says what; 2 the call was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import orjson

from deploy.importers.client import Sigma
from deploy.importers.csv_rows import UnreadableCatalogue
from deploy.importers.limiting import limited
from deploy.importers.loading import load
from deploy.importers.move import CONCURRENCY
from deploy.importers.plan import Plan
from deploy.importers.progress import Progress
from deploy.importers.rehearsal import rehearse
from deploy.importers.report import Report
from deploy.importers.source import Source, web_address
from shared.ids import is_id
from shared.process.secret_files import Unusable, content_of

API_KEY = "SIGMA_API_KEY"
CALLED_WRONGLY = 2
CONCURRENCY_MAX = 64
INTERRUPTED = "interrupted; run again to finish: nothing is imported twice"


def main(source: Source, arguments: Sequence[str] | None = None) -> int:
    """Move, report, and return the exit code."""
    parser = _parser(source)
    asked = parser.parse_args(arguments)
    from_file = content_of(asked.api_key_env)
    if isinstance(from_file, Unusable):
        parser.error(from_file.problem)
    api_key = from_file or os.environ.get(asked.api_key_env, "")
    if not asked.dry_run and not api_key:
        parser.error(f"the environment variable {asked.api_key_env} contains no API key")
    if not asked.dry_run and asked.url is None:
        parser.error("--url is needed, or --dry-run")
    try:
        plan = source.plan_of(asked.data, asked)
    except UnreadableCatalogue as why:
        print(f"{parser.prog}: {why}", file=sys.stderr)
        return CALLED_WRONGLY
    if asked.limit is not None:
        plan = limited(plan, asked.limit)
    report = _moved(plan, asked, api_key)
    print(report.as_text(), flush=True)
    if plan.finish is not None:
        print(f"\n{plan.finish(report)}", flush=True)
    if asked.report is not None:
        asked.report.write_bytes(orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2))
        print(f"\nThe complete report is in {asked.report}", flush=True)
    return report.exit_code


def _moved(plan: Plan, asked: argparse.Namespace, api_key: str) -> Report:
    """Tell what was done also when somebody ends it before its end."""
    report = Report(plan.name, filled_cells=plan.filled_cells)
    report.left.update(plan.left)
    report.notes.extend(plan.notes)
    progress = Progress(sys.stderr)
    began = time.monotonic()
    try:
        if asked.dry_run:
            rehearse(plan, report, progress)
        else:
            asyncio.run(_load(plan, report, progress, asked, api_key))
    except KeyboardInterrupt:
        report.stopped = INTERRUPTED
    report.close(plan.record_count, time.monotonic() - began, plan.variant_count)
    return report


async def _load(
    plan: Plan, report: Report, progress: Progress, asked: argparse.Namespace, api_key: str
) -> None:
    connections, patience_s = asked.concurrency, asked.patience
    async with Sigma(asked.url, api_key, connections=connections, patience_s=patience_s) as sigma:
        await load(
            sigma,
            plan,
            report,
            progress,
            concurrency=asked.concurrency,
            overwrite_edits=asked.overwrite_edits,
        )


def _parser(source: Source) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m deploy.importers.{source.name}",
        description=f"Import {source.title} into a Sigma workspace.",
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder with the files")
    parser.add_argument(
        "--url", type=web_address, help="URL of Sigma, such as http://127.0.0.1:8080"
    )
    parser.add_argument(
        "--api-key-env",
        default=API_KEY,
        metavar="NAME",
        help="the environment variable that contains an API key with read, update-data and"
        f" update-model (default {API_KEY}); NAME_FILE can name a file that contains it",
    )
    parser.add_argument(
        "--prefix",
        type=_prefix,
        default="",
        help="prefix of every id, alias and external key, to avoid conflicts with existing objects",
    )
    parser.add_argument(
        "--overwrite-edits",
        action="store_true",
        help="also overwrite records that a person has edited in Sigma",
    )
    parser.add_argument(
        "--concurrency",
        type=_concurrency,
        default=CONCURRENCY,
        help=f"requests at a time (default {CONCURRENCY})",
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="seconds to retry while Sigma does not answer (default 120)",
    )
    parser.add_argument(
        "--report", type=_file, metavar="FILE", help="write the complete report as JSON"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="read and report everything, send nothing"
    )
    parser.add_argument(
        "--limit", type=_positive, metavar="N", help="import only the first N records, to try it"
    )
    source.add_options(parser)
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1")
    return int(text)


def _prefix(text: str) -> str:
    if text and not is_id(text):
        raise argparse.ArgumentTypeError(f"'{text}' cannot begin an id: try 'old-'")
    return text


def _file(text: str) -> Path:
    if not Path(text).absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"'{text}' is in a folder that does not exist")
    return Path(text)


def _concurrency(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= CONCURRENCY_MAX:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1 to {CONCURRENCY_MAX}")
    return int(text)


def run(source: Source) -> None:
    """End the process with the code of `main`."""
    # A shell starts what runs in the background with SIGINT ignored. Python then leaves it so, and
    # an interrupted run could not tell what it did.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main(source))

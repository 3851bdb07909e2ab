"""Workspaces between installations: `python -m deploy.workspaces export|import|move ...`.

    export ws-acme --file acme.zip      all that a workspace is, but for secrets and work under way
    import --file acme.zip              into an installation that does not have it
    import --undo ws-acme               remove what an interrupted import has left
    move ws-acme                        to another installation, while its clients write
    move ws-acme --abort                take a move back that has not switched yet
    move ws-acme --finish               after it: remove what the source still has

The installation is where `SIGMA_AUTH_DATABASE_URL`, `SIGMA_RECORDS_DATABASE_URL` and
`SIGMA_WORKFLOW_DATABASE_URL` lead; a move goes to `SIGMA_TO_AUTH_DATABASE_URL` and so on. Each may
be in a file that `..._FILE` names. docs/how-to/move-a-workspace.md says what a move needs.

Exit codes: 0 done; 1 it could not be done, and the message says why; 2 usage or configuration
error.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from deploy.workspaces import exporting, importing
from deploy.workspaces.databases import POSTGRES_ERRORS, Failed, Installation, opened
from deploy.workspaces.moving import PAUSE_S, REMEMBERED_S, Move
from deploy.workspaces.tables import AUTH, RECORDS, WORKFLOW
from shared.ids import is_id
from shared.process.config import ConfigError, DatabaseUrl, load
from shared.process.stopping import exit_on_signal

PAUSE_S_MAX = 3600.0


class Both(Installation):
    """Where a move begins, and where it goes: all that is missing is said at once."""

    to_auth_database_url: DatabaseUrl
    to_records_database_url: DatabaseUrl
    to_workflow_database_url: DatabaseUrl

    @property
    def target_urls(self) -> Mapping[str, str]:
        """Service -> address."""
        return {
            AUTH: self.to_auth_database_url.get_secret_value(),
            RECORDS: self.to_records_database_url.get_secret_value(),
            WORKFLOW: self.to_workflow_database_url.get_secret_value(),
        }


async def _export(asked: argparse.Namespace) -> str:
    urls = load(Installation).urls
    manifest = await exporting.export(urls, asked.workspace, asked.file, _say)
    rows = sum(member.rows for member in manifest.members.values())
    return f"'{asked.workspace}' is in {asked.file}: {rows} rows"


async def _import(asked: argparse.Namespace) -> str:
    urls = load(Installation).urls
    if asked.undo is not None:
        await importing.undo(urls, asked.undo, _say)
        return f"the import of '{asked.undo}' is undone"
    workspace_id = await importing.import_file(urls, asked.file, _say)
    return (
        f"'{workspace_id}' is imported. Its users have no passwords: python -m auth_service admin"
        " set-password"
    )


async def _move(asked: argparse.Namespace) -> str:
    both = load(Both)
    source_urls, target_urls = both.urls, both.target_urls
    async with opened(source_urls, "source: ") as source, opened(target_urls, "target: ") as target:
        move = Move(
            asked.workspace, source, target, _say, pause_s=asked.pause, remembered_s=asked.wait
        )
        if asked.abort:
            await move.abort()
            return f"the move of '{asked.workspace}' is taken back"
        if asked.finish:
            await move.finish()
            return f"the source has nothing of '{asked.workspace}' any more"
        pause = await move.run()
    how = "" if pause is None else f", writes paused for {pause.seconds:.2f} s, {pause.rows} rows"
    return (
        f"'{asked.workspace}' has moved{how}. Lead its clients to the new address now; the old one"
        " answers writes with 503. Then run this with --finish"
    )


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    made = argparse.ArgumentParser(
        prog="python -m deploy.workspaces",
        description="Take a workspace from one installation to another.",
        epilog="Exit codes: 0 done, 1 failed, 2 usage or configuration error.",
    )
    commands = made.add_subparsers(required=True, metavar="command")
    one = commands.add_parser("export", help="write a workspace into a file")
    one.set_defaults(work=_export)
    one.add_argument("workspace", type=_id)
    one.add_argument("--file", type=Path, required=True)
    one = commands.add_parser("import", help="bring a workspace from a file")
    one.set_defaults(work=_import)
    what = one.add_mutually_exclusive_group(required=True)
    what.add_argument("--file", type=Path)
    what.add_argument("--undo", metavar="WORKSPACE", type=_id, help="remove an interrupted import")
    one = commands.add_parser("move", help="move a workspace while its clients write")
    one.set_defaults(work=_move)
    one.add_argument("workspace", type=_id)
    one.add_argument(
        "--pause",
        metavar="SECONDS",
        type=_seconds,
        default=PAUSE_S,
        help="how long writes may pause; %(default)g by default",
    )
    one.add_argument(
        "--wait",
        metavar="SECONDS",
        type=_seconds,
        default=REMEMBERED_S,
        help="how long --finish waits for callers to be forgotten; %(default)g by default",
    )
    how = one.add_mutually_exclusive_group()
    how.add_argument("--abort", action="store_true", help="take back what has not switched")
    how.add_argument("--finish", action="store_true", help="remove what the source still has")
    return made


def _id(text: str) -> str:
    if not is_id(text):
        raise argparse.ArgumentTypeError("expected the id of a workspace, such as ws-acme")
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= PAUSE_S_MAX:
        raise argparse.ArgumentTypeError(f"expected seconds from 1 to {PAUSE_S_MAX:g}")
    return seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    asked = parser().parse_args(arguments)
    exit_on_signal(143)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        print(asyncio.run(asked.work(asked)))
    except ConfigError as error:
        return _complain(str(error), 2)
    except Failed as error:
        return _complain(str(error), 1)
    except POSTGRES_ERRORS as error:
        return _complain(f"PostgreSQL: {' '.join(str(error).split())}", 1)
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def _complain(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())

"""Container image: `python -m deploy.image build|context|check`: see README.md in this folder."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from deploy.image import base, context
from deploy.image.build import NAME, build
from deploy.local.failure import StartFailed


def main(arguments: list[str] | None = None) -> int:
    """1 when something failed, with the reason on stderr."""
    asked = _parser().parse_args(arguments)
    try:
        if asked.command == "context":
            context.write(asked.folder, exports=asked.exports)
            print(f"{asked.folder}: build it with `docker build {asked.folder}`; see README.md")
            return 0
        chosen = base.choose(asked.base, renew=asked.renew_base)
        if asked.command == "build":
            made = build(chosen, exports=asked.exports)
            print(f"{NAME}:{context.source().version} on {chosen}\n{made}")
            return 0
        from deploy.image.check import check  # noqa: PLC0415  needs servers, the others do not

        return check(chosen)
    except (StartFailed, subprocess.TimeoutExpired) as failure:
        print(failure, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.image", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    with_base = argparse.ArgumentParser(add_help=False)
    with_base.add_argument(
        "--base",
        default="",
        metavar="IMAGE",
        help=f"the base: an image with Python {context.PYTHON}, or `debian` for one made here from"
        f" Debian's packages. By default {base.OFFICIAL}, and `debian` where that cannot be had",
    )
    with_base.add_argument(
        "--renew-base", action="store_true", help="pull or make the base again, for its updates"
    )
    contents = argparse.ArgumentParser(add_help=False)
    contents.add_argument(
        "--exports",
        action="store_true",
        help="with the clients that export jobs upload to S3, SFTP and Azure Blob Storage with",
    )
    commands.add_parser("build", parents=[with_base, contents], help=f"build {NAME}:<version>")
    commands.add_parser(
        "check", parents=[with_base], help="build it twice, and try all it promises"
    )
    written = commands.add_parser(
        "context", parents=[contents], help="only write the folder to build from"
    )
    written.add_argument("folder", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main())

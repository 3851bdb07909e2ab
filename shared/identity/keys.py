"""Generates keys: `python -m shared.identity.keys identity gateway`, `... token`, `... secret`.

Prints the environment variables, each with a comment that says which processes need it. Nothing is
stored: replace a lost key by a new one.

Exit codes: 0 done; 2 usage error.
"""

from __future__ import annotations

import argparse
import base64
import re
import secrets
import sys
from collections.abc import Sequence
from typing import Final

from shared.identity.signed import SIGNERS, public_key_of

_KEY_BYTES: Final = 32
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


def identity_key(issuer: str) -> str:
    """A new key pair for signing identities, as two lines for environments."""
    signing = f"{issuer}={_secret()}"
    return (
        f"# Secret. For {issuer} only:\n"
        f"SIGMA_IDENTITY_SIGNING_KEY={signing}\n"
        "# Public. For every process, in one list with the public keys of the other signers,\n"
        "# separated by commas:\n"
        f"SIGMA_IDENTITY_KEYS={public_key_of(signing)}\n"
    )


def token_key(name: str) -> str:
    """A new key for login tokens, as one line for environments."""
    return (
        "# Secret. For gateway and auth_service. The first key of the list signs, all verify:\n"
        f"SIGMA_TOKEN_KEYS={name}={_secret()}\n"
    )


def secret_key(name: str) -> str:
    """A new key for secrets that are stored, as one line for environments."""
    return (
        "# Secret. For workflow_service. The first key of the list seals, all open:\n"
        f"SIGMA_SECRET_KEYS={name}={_secret()}\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m shared.identity.keys",
        description="Make a new key and print the environment variables that hold it.",
        epilog="docs/operations.md says how keys are replaced while the system runs.",
    )
    kinds = parser.add_subparsers(required=True, metavar="kind")
    summary = "Make a key pair with which a process signs who is asking."
    kind = kinds.add_parser("identity", help=summary, description=summary)
    kind.add_argument("issuer", choices=SIGNERS, help="the process that signs: %(choices)s")
    kind.set_defaults(make=lambda asked: identity_key(asked.issuer))
    for name, summary, make in (
        ("token", "Make a key with which login tokens are signed.", token_key),
        ("secret", "Make a key with which stored secrets are sealed.", secret_key),
    ):
        kind = kinds.add_parser(name, help=summary, description=summary)
        kind.add_argument(
            "--name",
            type=_name,
            help="the name of the key, different from those in use; made up when it is left out",
        )
        kind.set_defaults(
            make=lambda asked, make=make: make(asked.name or f"key-{secrets.token_hex(4)}")
        )
    asked = parser.parse_args(arguments)
    sys.stdout.write(asked.make(asked))
    return 0


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError("expected up to 64 letters, digits, '.', '_' or '-'")
    return text


def _secret() -> str:
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


if __name__ == "__main__":
    sys.exit(main())

"""`python -m auth_service [--role api|worker|all]`, or `python -m auth_service admin ...`."""

import sys

from shared.process.stopping import exit_on_signal


def main() -> None:
    """Serve until a signal ends it, or do one administrative command."""
    if sys.argv[1:2] == ["admin"]:
        from auth_service import administration  # noqa: PLC0415

        sys.exit(administration.main(sys.argv[2:]))
    exit_on_signal()
    # Reading these takes a second, in which the request to stop may come.
    from auth_service.app import create_app  # noqa: PLC0415
    from auth_service.config import Config  # noqa: PLC0415
    from shared.launch import run  # noqa: PLC0415

    run(create_app, Config)


if __name__ == "__main__":
    main()

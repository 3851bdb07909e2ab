"""`python -m workflow_service [--role api|worker|all]`."""

from shared.process.stopping import exit_on_signal


def main() -> None:
    """Serve until a signal ends it."""
    exit_on_signal()
    # Reading these takes a second, in which the request to stop may come.
    from shared.launch import run  # noqa: PLC0415
    from workflow_service.app import create_app  # noqa: PLC0415
    from workflow_service.config import Config  # noqa: PLC0415

    run(create_app, Config)


if __name__ == "__main__":
    main()

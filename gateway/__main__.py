"""Starts the gateway: `python -m gateway`."""

from shared.process.stopping import exit_on_signal


def main() -> None:
    """Serve until a signal ends it."""
    exit_on_signal()
    # Importing these takes a second, in which the signal to stop may come.
    from gateway.app import create_app  # noqa: PLC0415
    from gateway.config import GatewayConfig  # noqa: PLC0415
    from shared.launch import run  # noqa: PLC0415

    run(create_app, GatewayConfig)


if __name__ == "__main__":
    main()

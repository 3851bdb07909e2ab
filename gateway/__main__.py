"""Starts the gateway: `python -m gateway`."""

from gateway.app import create_app
from gateway.config import GatewayConfig
from shared.launch import run

run(create_app, GatewayConfig)

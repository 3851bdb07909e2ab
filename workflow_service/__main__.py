"""`python -m workflow_service [--role api|worker|all]`."""

from shared.launch import run
from workflow_service.app import create_app
from workflow_service.config import Config

if __name__ == "__main__":
    run(create_app, Config)

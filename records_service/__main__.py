"""`python -m records_service [--role api|worker|all]`."""

from records_service.app import create_app
from records_service.config import Config
from shared.launch import run

if __name__ == "__main__":
    run(create_app, Config)

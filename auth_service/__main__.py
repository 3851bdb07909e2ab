"""`python -m auth_service [--role api|worker|all]`, or `python -m auth_service admin ...`."""

import sys

from auth_service import administration
from auth_service.app import create_app
from auth_service.config import Config
from shared.launch import run

if __name__ == "__main__":
    if sys.argv[1:2] == ["admin"]:
        sys.exit(administration.main(sys.argv[2:]))
    run(create_app, Config)

"""The command for JSON Lines with JSON Schemas; see `deploy.importers.command`."""

from deploy.importers.command import run
from deploy.importers.opendb.source import OPENDB

if __name__ == "__main__":
    run(OPENDB)

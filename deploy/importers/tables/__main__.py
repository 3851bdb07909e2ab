"""The command for tables without keys and types; see `deploy.importers.command`."""

from deploy.importers.command import run
from deploy.importers.tables.source import TABLES

if __name__ == "__main__":
    run(TABLES)

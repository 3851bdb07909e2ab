"""The command for Akeneo; see `deploy.importers.command`."""

from deploy.importers.akeneo.source import AKENEO
from deploy.importers.command import run

if __name__ == "__main__":
    run(AKENEO)

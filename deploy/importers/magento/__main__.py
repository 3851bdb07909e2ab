"""The command for Magento; see `deploy.importers.command`."""

from deploy.importers.command import run
from deploy.importers.magento.source import MAGENTO

if __name__ == "__main__":
    run(MAGENTO)

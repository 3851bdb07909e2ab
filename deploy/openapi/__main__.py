"""`python -m deploy.openapi`: writes `gateway/openapi.json` and the page of errors."""

from deploy.openapi import error_page
from deploy.openapi.document import document, written
from gateway.description import OPENAPI_FILE


def main() -> None:
    """Write both files."""
    described = document()
    OPENAPI_FILE.write_bytes(written(described))
    error_page.write()
    print(f"{OPENAPI_FILE.name}: {len(described['paths'])} addresses")


if __name__ == "__main__":
    main()

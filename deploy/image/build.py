"""Builds the image. The same commit on the same base gives the same image, bit by bit."""

from __future__ import annotations

import tempfile
from pathlib import Path

from deploy.image import base, context
from deploy.image.podman import built

NAME = "localhost/sigma-pim"


def build(base_name: str, tag: str | None = None, *, exports: bool = False) -> str:
    """Build it on this base without a network; the image's id. The default tag is its version.

    With `exports`, it has what export jobs upload to S3, SFTP and Azure with.
    """
    source = context.source()
    name = f"{NAME}:{tag or source.version}"
    labels = {
        "title": "Sigma PIM",
        "version": source.version,
        "revision": source.revision,
        "licenses": "Apache-2.0",
        "base.name": base_name,
        "base.digest": base.identity(base_name),
    }
    with tempfile.TemporaryDirectory(prefix="sigma-image-") as temporary:
        folder = Path(temporary) / "context"
        context.write(folder, exports=exports)
        return built(
            name,
            folder,
            *("--pull=never", "--network", "none", "--isolation", "oci"),
            *("--timestamp", str(source.epoch)),
            *("--build-arg", f"BASE={base_name}", "--build-arg", f"RUNTIME={base_name}"),
            *(f"--label=org.opencontainers.image.{key}={value}" for key, value in labels.items()),
        )

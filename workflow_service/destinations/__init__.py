"""Uploads the file of an export job to where its owner wants it.

    file = File(name, run.id, run.attempt, media_type)
    async with opened(kind, config, file, outbound) as upload:
        await upload.write(data)
        path = await upload.commit()

Under its name, a file is there whole or not at all.
"""

from workflow_service.destinations.checking import KINDS, check, secret_places
from workflow_service.destinations.model import DeliveryFailed, File, Upload
from workflow_service.destinations.uploading import opened, try_connection

__all__ = [
    "KINDS",
    "DeliveryFailed",
    "File",
    "Upload",
    "check",
    "opened",
    "secret_places",
    "try_connection",
]

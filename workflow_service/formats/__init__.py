"""Makes the file of an export job from what `GET /export` streams, in constant memory.

made = writer(Format.XML, Compression.GZIP)
async for chunk in exported:
    await upload.write(await in_thread(made.feed, chunk))
await upload.write(await in_thread(made.finish))
made.records
"""

from workflow_service.formats.model import (
    Compression,
    CutOff,
    Format,
    Writer,
    file_name,
    media_type,
)
from workflow_service.formats.writing import writer

__all__ = ["Compression", "CutOff", "Format", "Writer", "file_name", "media_type", "writer"]

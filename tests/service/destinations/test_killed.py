"""A killed process leaves nothing under the name of the file; a large file takes no memory."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

from tests.kit.eventually import eventually
from tests.kit.servers import ROOT
from tests.kit.uploading import PIECE
from tests.service.destinations.conftest import FILE
from workflow_service.destinations import opened

GROWN_BYTES_MAX = 48 << 20
LARGE_PIECES = 100


async def start(kind: str, config: dict, pieces: int, *, commit: bool):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.kit.uploading"),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    told = {"kind": kind, "config": config, "pieces": pieces, "commit": commit}
    assert process.stdin is not None
    process.stdin.write(json.dumps(told | {"name": FILE.name, "run_id": FILE.run_id}).encode())
    process.stdin.write_eof()
    return process


async def kill_after_pieces(kind: str, config: dict) -> None:
    process = await start(kind, config, 20, commit=False)
    try:
        assert await process.stdout.readline() == b"written\n"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()


async def upload_large(kind: str, config: dict) -> tuple[str, int]:
    """The path, and by how many bytes the memory of the process grew."""
    process = await start(kind, config, LARGE_PIECES, commit=True)
    output, _ = await process.communicate()
    assert process.returncode == 0
    answer = json.loads(output)
    return answer["path"], answer["grown_bytes"]


async def write_again(kind: str, config: dict, outbound) -> None:
    async with opened(kind, config, FILE, outbound) as upload:
        for _ in range(10):
            await upload.write(PIECE)
        await upload.commit()


async def test_a_killed_upload_to_s3_is_not_there_and_is_replaced(s3, outbound):
    config = s3.config(path="killed.csv")
    await kill_after_pieces("s3", config)
    assert "killed.csv" not in s3.names()
    assert s3.unfinished() == ["killed.csv"]
    await write_again("s3", config, outbound)
    assert s3.read("killed.csv") == PIECE * 10
    assert s3.unfinished() == []


async def test_a_killed_upload_to_sftp_is_not_there_and_is_replaced(sftp, outbound):
    target = sftp.files / "killed.csv"
    target.write_bytes(b"yesterday's")
    config = sftp.config(path=str(target))
    await kill_after_pieces("sftp", config)
    (left,) = sftp.files.glob(f".sigma-{FILE.run_id}-*.part")
    assert target.read_bytes() == b"yesterday's"
    await eventually(lambda: left.stat().st_size == 20 * len(PIECE))
    await write_again("sftp", config, outbound)
    assert target.read_bytes() == PIECE * 10
    assert not left.exists()
    target.unlink()


async def test_a_killed_upload_to_a_webhook_is_cut(receiver):
    process = await start("webhook", {"url": receiver.url, "headers": {}}, 20, commit=False)
    await receiver.reached.wait()
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    await eventually(lambda: receiver.cut == 1)
    assert receiver.heard == []


async def test_a_large_file_takes_no_memory_on_its_way_to_s3(s3):
    path, grown = await upload_large("s3", s3.config(path="large.csv"))
    assert path == "s3://exports/large.csv"
    head = s3.client.head_object(Bucket=s3.bucket, Key="large.csv")
    assert head["ContentLength"] == LARGE_PIECES * len(PIECE)
    assert grown < GROWN_BYTES_MAX


async def test_a_large_file_takes_no_memory_on_its_way_to_sftp(sftp):
    path, grown = await upload_large("sftp", sftp.config())
    assert (sftp.files / FILE.name).stat().st_size == LARGE_PIECES * len(PIECE)
    assert path == str(sftp.files / FILE.name)
    assert grown < GROWN_BYTES_MAX
    (sftp.files / FILE.name).unlink()

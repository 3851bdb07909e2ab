"""Uploads to OpenSSH."""

from __future__ import annotations

from dataclasses import replace

import asyncssh
import pytest

from shared.errors import truncated
from tests.service.destinations.conftest import FILE
from workflow_service.destinations import DeliveryFailed, opened, try_connection

CONTENT = b"0123456789abcdef" * 300_000


async def test_a_file_appears_when_it_is_committed_and_replaces_another(sftp, outbound):
    target = sftp.files / "products.csv"
    target.write_bytes(b"yesterday's, which was longer" * 1_000_000)
    async with opened("sftp", sftp.config(path=str(target)), FILE, outbound) as upload:
        for at in range(0, len(CONTENT), 70_001):
            await upload.write(CONTENT[at : at + 70_001])
        assert target.read_bytes().startswith(b"yesterday")
        assert await upload.commit() == str(target)
    assert target.read_bytes() == CONTENT
    assert [each.name for each in sftp.files.iterdir()] == ["products.csv"]
    target.unlink()


async def test_a_path_without_extension_is_a_folder(sftp, outbound):
    async with opened("sftp", sftp.config(), FILE, outbound) as upload:
        assert await upload.commit() == str(sftp.files / FILE.name)
    (sftp.files / FILE.name).unlink()


async def test_an_upload_that_fails_leaves_nothing(sftp, outbound):
    with pytest.raises(RuntimeError):
        async with opened("sftp", sftp.config(), FILE, outbound) as upload:
            await upload.write(CONTENT)
            (hidden,) = sftp.files.iterdir()
            assert hidden.name.startswith(".sigma-run-1-")
            raise RuntimeError
    assert list(sftp.files.iterdir()) == []


async def test_trying_the_connection_leaves_nothing(sftp, outbound):
    await try_connection("sftp", sftp.config(), outbound)
    assert list(sftp.files.iterdir()) == []


def new_key(kind: str = "ssh-ed25519") -> asyncssh.SSHKey:
    return asyncssh.generate_private_key(kind)


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256"])
async def test_a_server_with_another_key_gets_nothing(sftp, outbound, kind):
    other = new_key(kind).export_public_key().decode()
    with pytest.raises(DeliveryFailed) as failed:
        await try_connection("sftp", sftp.config(hostKey=other), outbound)
    assert str(failed.value) == "Host '127.0.0.1' has another host key than 'hostKey'"


async def test_a_failure_says_its_cause(sftp, outbound):
    async def cause(**other) -> str:
        with pytest.raises(DeliveryFailed) as failed:
            await try_connection("sftp", sftp.config(**other), outbound)
        return str(failed.value)

    user = sftp.config()["username"]
    stranger = new_key().export_private_key().decode()
    assert await cause(privateKey=stranger) == (
        f"Access denied: Host '127.0.0.1' refuses 'privateKey' of user '{user}'"
    )
    assert await cause(privateKey=None, password="wrong") == (
        f"Access denied: Host '127.0.0.1' refuses 'password' of user '{user}'"
    )
    assert await cause(path="/nowhere/at/all") == "Folder '/nowhere/at/all' not found"
    assert await cause(port=9) == "Host '127.0.0.1' refuses the connection"
    (sftp.files / "a.csv").mkdir()
    target = str(sftp.files / "a.csv")
    with pytest.raises(DeliveryFailed) as failed:
        async with opened("sftp", sftp.config(path=target), FILE, outbound) as upload:
            await upload.commit()
    assert str(failed.value) == (
        f"The server refused to write '{truncated(target)}': it may be a folder, or have no"
        " space left"
    )
    (sftp.files / "a.csv").rmdir()
    assert list(sftp.files.iterdir()) == []


async def test_a_password_is_accepted(outbound, tmp_path):
    """By another server: OpenSSH knows only passwords of the system's users."""

    class Server(asyncssh.SSHServer):
        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == ("jobs", "Pa ss\N{SNOWMAN}")

    key = new_key()
    server = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=Server, server_host_keys=[key], sftp_factory=True
    )
    async with server:
        config = {
            "host": "127.0.0.1",
            "port": server.sockets[0].getsockname()[1],
            "username": "jobs",
            "password": "Pa ss\N{SNOWMAN}",
            "hostKey": key.export_public_key().decode(),
            "path": str(tmp_path),
        }
        async with opened("sftp", config, FILE, outbound) as upload:
            await upload.write(b"content")
            path = await upload.commit()
    assert (tmp_path / FILE.name).read_bytes() == b"content"
    assert path == str(tmp_path / FILE.name)


async def test_a_try_that_wakes_leaves_a_later_one_alone_and_replaces_nothing(sftp, outbound):
    config = sftp.config(path=str(sftp.files / "all.csv"))
    first, second, third = (replace(FILE, attempt=number) for number in (1, 2, 3))
    async with opened("sftp", config, second, outbound) as asleep:
        await asleep.write(CONTENT)
        async with opened("sftp", config, third, outbound) as upload:
            (hidden,) = sftp.files.iterdir()
            assert hidden.name.startswith(f".sigma-{FILE.run_id}-3-")
            async with opened("sftp", config, first, outbound):
                assert hidden.exists()
            await upload.write(CONTENT)
            await upload.commit()
        with pytest.raises(DeliveryFailed):
            await asleep.commit()
    assert (sftp.files / "all.csv").read_bytes() == CONTENT
    assert [each.name for each in sftp.files.iterdir()] == ["all.csv"]
    (sftp.files / "all.csv").unlink()

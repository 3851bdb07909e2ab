"""Servers to which export jobs upload: S3 (moto), SFTP (OpenSSH) and Azure blobs (Azurite)."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config as BotoConfig

from deploy.local.listening import is_free
from deploy.local.private_server import HOST, free_port
from tests.kit.npm_modules import AZURITE

READY_WITHIN_S = 60
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
"""What Azurite is made with; Microsoft publishes both."""


class FileServer:
    """A process that listens at `port` until it is closed."""

    def __init__(self, command: Sequence[str | Path], port: int, folder: Path) -> None:
        self.port = port
        self.folder = folder
        self._log = (folder / "server.log").open("wb")
        self._process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def _wait(self) -> None:
        end = time.monotonic() + READY_WITHIN_S
        while is_free(HOST, self.port):
            if self._process.poll() is not None or time.monotonic() > end:
                said = (self.folder / "server.log").read_text(errors="replace")
                raise AssertionError(f"the server did not start:\n{said}")
            time.sleep(0.05)

    def close(self) -> None:
        """End the process."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._log.close()


class S3Server(FileServer):
    """moto, which checks signatures and rights once `locked`. One bucket, `exports`."""

    bucket = "exports"
    region = "eu-central-1"

    def __init__(self, folder: Path) -> None:
        port = free_port()
        command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
        super().__init__(command, port, folder)
        self.url = f"http://{HOST}:{port}"
        iam = self._client("iam", "made", "made")
        iam.create_user(UserName="jobs")
        iam.put_user_policy(
            UserName="jobs",
            PolicyName="all-of-s3",
            PolicyDocument='{"Version": "2012-10-17", "Statement":'
            ' [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}',
        )
        key = iam.create_access_key(UserName="jobs")["AccessKey"]
        self.key_id, self.key = key["AccessKeyId"], key["SecretAccessKey"]
        self.client = self._client("s3", self.key_id, self.key)
        self.client.create_bucket(
            Bucket=self.bucket, CreateBucketConfiguration={"LocationConstraint": self.region}
        )
        requests.post(f"{self.url}/moto-api/reset-auth", data=b"0", timeout=10)

    def close(self) -> None:
        self.client.close()
        super().close()

    def config(self, **other: str) -> dict[str, Any]:
        """What `destinationConfig` is for this server."""
        return {
            "bucket": self.bucket,
            "path": "",
            "region": self.region,
            "endpoint": self.url,
            "accessKeyId": self.key_id,
            "secretAccessKey": self.key,
        } | other

    def names(self) -> list[str]:
        """All objects."""
        found = self.client.list_objects_v2(Bucket=self.bucket)
        return [each["Key"] for each in found.get("Contents", ())]

    def read(self, key: str) -> bytes:
        """The content of an object."""
        return bytes(self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read())

    def unfinished(self) -> list[str]:
        """The keys of uploads that were begun and not ended."""
        found = self.client.list_multipart_uploads(Bucket=self.bucket)
        return [each["Key"] for each in found.get("Uploads", ())]

    def _client(self, service: str, key_id: str, key: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=self.region,
            aws_access_key_id=key_id,
            aws_secret_access_key=key,
            config=BotoConfig(proxies={}),
        )


class SftpServer(FileServer):
    """OpenSSH, for the user who runs the tests; `files` is the folder for uploads."""

    def __init__(self, folder: Path, sshd: str) -> None:
        self.files = folder / "files"
        self.files.mkdir()
        self.key = self._new_key(folder / "user")
        self.host_key = self._new_key(folder / "host").with_suffix(".pub").read_text().strip()
        shutil.copy(folder / "user.pub", folder / "authorized_keys")
        port = free_port()
        (folder / "sshd_config").write_text(
            f"ListenAddress {HOST}\n"
            f"Port {port}\n"
            f"HostKey {folder}/host\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\n"
            "PidFile none\n"
            "StrictModes no\n"
            "UsePAM no\n"
            "PasswordAuthentication yes\n"
            "PermitRootLogin yes\n"
            "MaxStartups 100\n"
            "Subsystem sftp internal-sftp\n"
        )
        if os.geteuid() == 0:
            # As Debian's unit for the system's own server does.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        super().__init__([sshd, "-D", "-e", "-f", folder / "sshd_config"], port, folder)

    def config(self, **other: Any) -> dict[str, Any]:
        """What `destinationConfig` is for this server."""
        return {
            "host": HOST,
            "port": self.port,
            "username": getpass.getuser(),
            "privateKey": self.key.read_text(),
            "hostKey": self.host_key,
            "path": str(self.files),
        } | other

    @staticmethod
    def _new_key(file: Path) -> Path:
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(file)]
        subprocess.run(command, check=True)
        return file


class AzureServer(FileServer):
    """Azurite, with one container, `exports`."""

    container = "exports"

    def __init__(self, folder: Path) -> None:
        port = free_port()
        command = [
            "node",
            AZURITE / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js",
        ]
        options = ["--blobHost", HOST, "--blobPort", str(port), "--location", folder]
        super().__init__(
            [*command, *options, "--silent", "--skipApiVersionCheck"],
            port,
            folder,
        )

    @property
    def connection_string(self) -> str:
        """With the key of the account."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};"
            f"BlobEndpoint=http://{HOST}:{self.port}/{ACCOUNT};"
        )

    def config(self, **other: str) -> dict[str, Any]:
        """What `destinationConfig` is for this server."""
        return {
            "container": self.container,
            "path": "",
            "connectionString": self.connection_string,
        } | other


def sshd() -> str | None:
    """The program of OpenSSH's server, which takes its full path to start; None without one."""
    return shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")


def sshd_or_skip() -> str:
    """The program of OpenSSH's server; without one, the test is skipped."""
    found = sshd()
    if found is None:
        pytest.skip("there is no sshd on this machine (Debian: apt install openssh-server)")
    return found

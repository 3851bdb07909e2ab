"""A configuration is checked when it is saved, and names what is wrong with it."""

from __future__ import annotations

from importlib import util

import asyncssh
import pytest

from shared.errors import ValidationError, Violation
from tests.kit.file_servers import ACCOUNT_KEY
from workflow_service.destinations import KINDS, check, secret_places

SECRET = "d0-not-tell"
KEY = asyncssh.generate_private_key("ssh-ed25519")
PUBLIC = KEY.export_public_key().decode().strip()
PRIVATE = KEY.export_private_key().decode()
S3 = {
    "bucket": "exports",
    "path": "daily",
    "region": "eu-central-1",
    "accessKeyId": "AKIA1",
    "secretAccessKey": SECRET,
}
SFTP = {
    "host": "127.0.0.1",
    "port": 22,
    "username": "jobs",
    "password": SECRET,
    "hostKey": PUBLIC,
    "path": "/out",
}
AZURE = {
    "container": "exports",
    "path": "daily",
    "connectionString": f"AccountName=a;AccountKey={ACCOUNT_KEY};BlobEndpoint=http://127.0.0.1/a",
}
WEBHOOK = {"url": "http://127.0.0.1/hook", "headers": {"X-Token": SECRET}}
WHOLE = {"s3": S3, "sftp": SFTP, "azure-blob": AZURE, "webhook": WEBHOOK}


def test_there_is_a_whole_one_of_each_kind():
    assert set(WHOLE) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_whole_configuration_is_kept_as_it_is(outbound, kind):
    assert await check(kind, WHOLE[kind], outbound) == WHOLE[kind]


async def test_what_may_be_left_out_gets_its_default(outbound):
    sftp = {name: SFTP[name] for name in SFTP if name != "port"}
    assert await check("sftp", sftp, outbound) == SFTP
    assert await check("webhook", {"url": WEBHOOK["url"]}, outbound) == {
        "url": WEBHOOK["url"],
        "headers": {},
    }


async def test_a_line_of_known_hosts_is_a_key(outbound):
    scanned = await check("sftp", SFTP | {"hostKey": f"[127.0.0.1]:22 {PUBLIC}\n"}, outbound)
    assert scanned["hostKey"] == " ".join(PUBLIC.split()[:2])


def without(config: dict, name: str) -> dict:
    return {key: value for key, value in config.items() if key != name}


@pytest.mark.parametrize(
    ("kind", "config", "pointer", "message"),
    [
        ("s3", [], "", " expects type 'object', got 'array'"),
        ("s3", without(S3, "bucket"), "/bucket", ".bucket' is required"),
        (
            "s3",
            S3 | {"bucket": "No Bucket"},
            "/bucket",
            ".bucket' must match pattern '^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$', got 'No Bucket'",
        ),
        ("s3", S3 | {"bucket": 7}, "/bucket", ".bucket' expects type 'string', got 'number'"),
        ("s3", S3 | {"bukket": "a"}, "/bukket", ".bukket' is not known"),
        (
            "s3",
            S3 | {"region": "x.evil.example/"},
            "/region",
            ".region' must match pattern '^[a-z0-9-]{1,63}$', got 'x.evil.example/'",
        ),
        (
            "s3",
            S3 | {"endpoint": "ftp://127.0.0.1"},
            "/endpoint",
            ".endpoint' expects an absolute http or https URL, got 'ftp://127.0.0.1'",
        ),
        ("s3", S3 | {"path": "a\nb.csv"}, "/path", ".path': expects printable characters"),
        (
            "s3",
            S3 | {"secretAccessKey": "s" * 300},
            "/secretAccessKey",
            ".secretAccessKey' exceeds maximum length 256, got 300",
        ),
        ("sftp", SFTP | {"port": 0}, "/port", ".port' must be at least 1, got 0"),
        (
            "sftp",
            without(SFTP, "password"),
            "",
            ": expects either password or privateKey",
        ),
        (
            "sftp",
            SFTP | {"privateKey": PRIVATE},
            "",
            ": expects either password or privateKey",
        ),
        (
            "sftp",
            SFTP | {"hostKey": "SHA256:abc"},
            "/hostKey",
            ".hostKey': expects one public key (ssh-ed25519 AAAA...), as ssh-keyscan prints it",
        ),
        (
            "sftp",
            SFTP | {"hostKey": "ssh-ed25519 AAAA"},
            "/hostKey",
            ".hostKey' expects one public key (ssh-ed25519 AAAA...), as ssh-keyscan prints it",
        ),
        (
            "sftp",
            without(SFTP, "password") | {"privateKey": SECRET},
            "/privateKey",
            ".privateKey': expects a private key in PEM or OpenSSH format (-----BEGIN ...)",
        ),
        (
            "sftp",
            without(SFTP, "password") | {"privateKey": f"-----BEGIN {SECRET}"},
            "/privateKey",
            ".privateKey' expects a private key in PEM or OpenSSH format, got one that is broken",
        ),
        (
            "sftp",
            without(SFTP, "password")
            | {"privateKey": KEY.export_private_key("pkcs8-pem", passphrase="p").decode()},
            "/privateKey",
            ".privateKey' expects a private key without a passphrase",
        ),
        (
            "azure-blob",
            AZURE | {"connectionString": SECRET},
            "/connectionString",
            ".connectionString': expects pairs of Name=value, separated by semicolons",
        ),
        (
            "azure-blob",
            AZURE | {"connectionString": "UseDevelopmentStorage=true"},
            "/connectionString",
            ".connectionString': cannot be UseDevelopmentStorage: name account and endpoint",
        ),
        (
            "azure-blob",
            AZURE | {"connectionString": f"AccountName=a;AccountKey={SECRET}"},
            "/connectionString",
            ".connectionString': has an AccountKey that is not Base64",
        ),
        (
            "azure-blob",
            AZURE | {"connectionString": f"SharedAccessSignature={SECRET}"},
            "/connectionString",
            ".connectionString': expects AccountName or BlobEndpoint",
        ),
        (
            "azure-blob",
            AZURE | {"connectionString": f"SharedAccessSignature=a;BlobEndpoint=ftp://{SECRET}"},
            "/connectionString",
            ".connectionString' expects an http or https endpoint",
        ),
        (
            "azure-blob",
            AZURE
            | {"connectionString": f"SharedAccessSignature={SECRET};BlobEndpoint=http://127.0.0.1"},
            "/connectionString",
            ".connectionString' expects a valid AccountKey or SharedAccessSignature",
        ),
        (
            "webhook",
            {"url": "http://user:word@127.0.0.1/"},
            "/url",
            ".url' expects a URL without user name and password",
        ),
        (
            "webhook",
            WEBHOOK | {"headers": {"X-Token": f"{SECRET}\r\nHost: a"}},
            "/headers/X-Token",
            ".headers.X-Token': expects printable ASCII characters",
        ),
        (
            "webhook",
            WEBHOOK | {"headers": {"Content-Length": SECRET}},
            "/headers/Content-Length",
            ".headers.Content-Length': is set by Sigma PIM",
        ),
        (
            "webhook",
            WEBHOOK | {"headers": {"X Token": SECRET}},
            "/headers/X Token",
            ".headers.X Token': is no name of a header of HTTP",
        ),
        (
            "webhook",
            WEBHOOK | {"headers": {f"X-{n}": "a" for n in range(21)}},
            "/headers",
            ".headers' must have at most 20 items, got 21",
        ),
    ],
)
async def test_a_fault_is_told_at_its_field(outbound, kind, config, pointer, message):
    with pytest.raises(ValidationError) as refused:
        await check(kind, config, outbound)
    field = (
        f"Field 'destinationConfig{message}"
        if message.startswith(".")
        else (f"Field 'destinationConfig'{message}")
    )
    assert refused.value.violations == (Violation(f"/destinationConfig{pointer}", field),)
    assert SECRET not in refused.value.message


async def test_all_faults_are_told_at_once(outbound):
    with pytest.raises(ValidationError) as refused:
        await check("s3", {"bucket": "B", "endpoint": 1}, outbound)
    assert {
        each.pointer.removeprefix("/destinationConfig/") for each in refused.value.violations
    } == {*("bucket", "path", "region", "endpoint", "accessKeyId", "secretAccessKey")}


@pytest.mark.parametrize(
    ("kind", "library"), [("s3", "aiobotocore"), ("sftp", "asyncssh"), ("azure-blob", "azure")]
)
async def test_a_kind_whose_library_is_missing_is_refused(outbound, monkeypatch, kind, library):
    def found(name: str) -> object:
        if name.startswith(library):
            raise ModuleNotFoundError(name)
        return util.find_spec(name)

    monkeypatch.setattr("workflow_service.destinations.checking.find_spec", found)
    with pytest.raises(ValidationError) as refused:
        await check(kind, WHOLE[kind], outbound)
    (violation,) = refused.value.violations
    assert violation.pointer == "/destinationType"
    assert violation.message.startswith(
        f"Field 'destinationType' cannot be '{kind}' on this server: the Python package '{library}"
    )
    assert await check("webhook", WEBHOOK, outbound) == WEBHOOK


def test_the_secrets_of_each_kind_are_known():
    keyed = without(SFTP, "password") | {"privateKey": PRIVATE}
    assert [secret_places(kind, config) for kind, config in [*WHOLE.items(), ("sftp", keyed)]] == [
        [("secretAccessKey",)],
        [("password",)],
        [("connectionString",)],
        [("headers", "X-Token")],
        [("privateKey",)],
    ]

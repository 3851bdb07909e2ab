"""No destination lies inside the network of whoever runs Sigma PIM."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from shared.errors import ValidationError
from tests.service.destinations.conftest import FILE
from tests.service.destinations.test_checking import AZURE, S3, SFTP, WEBHOOK
from workflow_service.destinations import DeliveryFailed, check, opened, try_connection
from workflow_service.outbound.addresses import Allowed
from workflow_service.outbound.client import Outbound

PUBLIC = "93.184.215.14"


def led_to(host: str, port: int | None = 80) -> dict[str, dict]:
    """A configuration of each kind that leads to this host."""
    account = f"AccountName=a;SharedAccessSignature=sv=2024-11-04&sig=c2ln;BlobEndpoint=http://{host}:{port}/a"
    return {
        "s3": S3 | {"endpoint": f"http://{host}:{port}"},
        "sftp": SFTP | {"host": host, "port": port},
        "azure-blob": AZURE | {"connectionString": account},
        "webhook": WEBHOOK | {"url": f"http://{host}:{port}/hook"},
    }


KINDS = tuple(led_to("example.com"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("host", ["127.0.0.1", "169.254.169.254", "0x7f.1", "localhost"])
async def test_a_private_address_is_refused_at_save_and_at_run(kind, host):
    closed = Outbound(Allowed(), lookup=in_turn([["127.0.0.1"]] * 3))
    config = led_to(host)[kind]
    with pytest.raises(ValidationError) as refused:
        await check(kind, config, closed)
    assert "expects a public address" in refused.value.message
    with pytest.raises(DeliveryFailed) as failed:
        await try_connection(kind, config, closed)
    assert "public" in str(failed.value)
    with pytest.raises(DeliveryFailed) as failed:
        async with opened(kind, config, FILE, closed) as upload:
            await upload.commit()
    assert "public" in str(failed.value)
    await closed.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_name_that_changes_after_it_was_looked_at_leads_nowhere(kind, receiver):
    # S3 and Azure: also after the look before the upload, so that it is the connection that fails.
    looks = {"s3": 2, "azure-blob": 2}.get(kind, 1)
    said = [[PUBLIC]] * looks + [["127.0.0.1"]] * 100
    outbound = Outbound(Allowed(), lookup=in_turn(said))
    port = urlsplit(receiver.url).port
    kept = await check(kind, led_to("rebinding.example", port)[kind], outbound)
    with pytest.raises(DeliveryFailed) as failed:
        async with opened(kind, kept, FILE, outbound) as upload:
            await upload.write(b"content")
            await upload.commit()
    assert str(failed.value) == ("Host 'rebinding.example' leads to an address that is not public")
    assert not receiver.reached.is_set()
    await outbound.close()


async def test_an_endpoint_that_is_allowed_by_its_name_is_reached(s3):
    outbound = Outbound(Allowed.parse("localhost"), lookup=in_turn([["127.0.0.1"]] * 100))
    config = s3.config(endpoint=f"http://localhost:{s3.port}", path="by-name.csv")
    await check("s3", config, outbound)
    async with opened("s3", config, FILE, outbound) as upload:
        await upload.write(b"content")
        await upload.commit()
    assert s3.read("by-name.csv") == b"content"
    await outbound.close()


def in_turn(said: list[list[str]]):
    """A name server that answers this, whatever it is asked."""
    answers = iter(said)

    async def lookup(_: str) -> list[str]:
        return next(answers)

    return lookup

"""Replaces all keys as docs/operations.md, Rotate keys, says: publish, sign, remove.

It is stricter where it can be: all signers change at once, services are replaced at the same time,
and a public key is removed as soon as the processes that signed with it have ended.
"""

from __future__ import annotations

from functools import partial

import aiohttp

from deploy.local.settings import AUTH, RECORDS
from shared.identity import ALL_PERMISSIONS, GATEWAY, IDENTITY_HEADER, Identity, IdentitySigner
from tests.kit.sigma import Caller
from tests.rolling.fleet import ORDER, Fleet, Phase
from tests.rolling.keys import SIGNERS
from tests.rolling.load import WORKSPACE, Load

TOKEN_HOLDERS = (GATEWAY, AUTH)


async def rotate(fleet: Fleet, load: Load, phase: Phase) -> list[str]:
    """All steps, each a rolling restart; what was wrong."""
    keys, former_token = fleet.keys, load.token
    former_identity = _signed(keys.signing[GATEWAY])
    complaints = []
    if await _status(fleet, former_identity) != 200:
        complaints.append("the first identity key is not accepted from the beginning")

    keys.publish_identity_keys()
    await phase("identity keys: publish", partial(fleet.roll_all, ORDER))
    keys.sign_with_next_identity_keys()
    await phase("identity keys: sign", partial(fleet.roll_all, SIGNERS))
    keys.remove_former_identity_keys()
    await phase("identity keys: remove", partial(fleet.roll_all, ORDER))
    if await _status(fleet, former_identity) != 401:
        complaints.append("the former identity key is still accepted")

    keys.publish_token_key()
    await phase("token key: publish", partial(fleet.roll_all, TOKEN_HOLDERS))
    keys.sign_with_next_token_key()
    await phase("token key: sign, auth_service", partial(fleet.roll, AUTH))
    await phase("token key: sign, gateway", partial(fleet.roll, GATEWAY))
    # So far the load uses the token from the beginning. In a day it would have to log in again.
    await load.log_in_again()
    keys.remove_former_token_key()
    await phase("token key: remove", partial(fleet.roll_all, TOKEN_HOLDERS))
    if (await load.caller(former_token).get("/records?limit=1")).status != 401:
        complaints.append("a token of the former key is still accepted")
    return complaints


def _signed(key: str) -> dict[str, str]:
    """What the gateway sends for a caller when it signs with this key."""
    identity = Identity(
        kind="api_key", id="apikey-any", workspace_id=WORKSPACE, permissions=ALL_PERMISSIONS
    )
    return {IDENTITY_HEADER: IdentitySigner.parse(key).sign(identity)}


async def _status(fleet: Fleet, headers: dict[str, str]) -> int:
    async with aiohttp.ClientSession() as session:
        records = Caller(session, fleet.url_of(RECORDS), headers)
        return (await records.get("/records?limit=1")).status

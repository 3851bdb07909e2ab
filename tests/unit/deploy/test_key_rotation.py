"""The steps of docs/operations.md that replace keys, run on configuration files.

At every moment of a rollout, processes from before a step and from after it must understand each
other; `make rolling` shows the same with real processes under load.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from shared.errors import Unauthorized
from shared.identity import IdentitySigner, IdentityVerifier, keys, public_key_of
from shared.identity.signed import SIGNERS
from shared.identity.tokens import Claims, TokenKeys
from tests.kit.pages import commands
from tests.kit.servers import ROOT
from workflow_service.secrets.vault import CannotOpen, Place, Vault

IDENTITY_STEPS = ("identity-publish", "identity-sign", "identity-remove")
TOKEN_STEPS = ("token-publish", "token-sign", "token-remove")
SECRET_STEPS = ("secret-publish", "secret-seal", "secret-remove")
GATEWAY, WORKFLOW, AUTH = "gateway", "workflow_service", "auth_service"


@dataclass(frozen=True)
class Settings:
    """What processes are configured with that start now: file to variable to value."""

    files: dict[str, dict[str, str]]

    def signer(self, issuer: str) -> IdentitySigner:
        return IdentitySigner.parse(self.files[issuer]["SIGMA_IDENTITY_SIGNING_KEY"])

    @property
    def verifier(self) -> IdentityVerifier:
        return IdentityVerifier.parse(self.files["common"]["SIGMA_IDENTITY_KEYS"])

    @property
    def vault(self) -> Vault:
        return Vault.parse(self.files[WORKFLOW]["SIGMA_SECRET_KEYS"])

    def tokens(self, service: str) -> TokenKeys:
        return TokenKeys.parse(self.files[service]["SIGMA_TOKEN_KEYS"])


def read(folder: Path) -> Settings:
    return Settings(
        {
            file.stem: dict(line.split("=", 1) for line in file.read_text().splitlines())
            for file in folder.glob("*.env")
            if file.stem != "next"
        }
    )


def value_of(lines: str, variable: str) -> str:
    return next(
        line.partition("=")[2] for line in lines.splitlines() if line.startswith(f"{variable}=")
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The files as the installation makes them."""
    signing = {
        name: value_of(keys.identity_key(name), "SIGMA_IDENTITY_SIGNING_KEY") for name in SIGNERS
    }
    token = value_of(keys.token_key("first"), "SIGMA_TOKEN_KEYS")
    public = ",".join(map(public_key_of, signing.values()))
    files = {
        "common": ["SIGMA_HOST=127.0.0.1", f"SIGMA_IDENTITY_KEYS={public}", "SIGMA_AUTH_URL=x"],
        AUTH: [
            f"SIGMA_IDENTITY_SIGNING_KEY={signing[AUTH]}",
            f"SIGMA_TOKEN_KEYS={token}",
            "SIGMA_PORT=8081",
        ],
        GATEWAY: [
            f"SIGMA_IDENTITY_SIGNING_KEY={signing[GATEWAY]}",
            f"SIGMA_TOKEN_KEYS={token}",
            "SIGMA_PORT=8080",
        ],
        WORKFLOW: [
            f"SIGMA_IDENTITY_SIGNING_KEY={signing[WORKFLOW]}",
            f"SIGMA_SECRET_KEYS={value_of(keys.secret_key('first'), 'SIGMA_SECRET_KEYS')}",
            "SIGMA_PORT=8083",
        ],
        "records_service": ["SIGMA_PORT=8082"],
    }
    for name, lines in files.items():
        (tmp_path / f"{name}.env").write_text("".join(f"{line}\n" for line in lines))
    return tmp_path


def test_the_commands_print_new_keys():
    python = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    printed = subprocess.run(
        ["sh", "-c", commands("new-keys")],
        cwd=ROOT,
        env=python,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    IdentitySigner.parse(value_of(printed, "SIGMA_IDENTITY_SIGNING_KEY"))
    IdentityVerifier.parse(value_of(printed, "SIGMA_IDENTITY_KEYS"))
    TokenKeys.parse(value_of(printed, "SIGMA_TOKEN_KEYS"))
    Vault.parse(value_of(printed, "SIGMA_SECRET_KEYS"))


def rotated(config: Path, steps: tuple[str, ...], signer: str = GATEWAY) -> list[Settings]:
    """The settings before the first step and after each; one shell does all steps."""
    script, folders = [commands("settings")], []
    for step in steps:
        folders.append(config / step)
        script.append(commands(step).replace("signer=gateway", f"signer={signer}"))
        script.append(f"mkdir -p '{folders[-1]}' && cp \"$CONFIG\"/*.env '{folders[-1]}'")
    before = read(config)
    subprocess.run(
        ["sh", "-c", "\n".join(script)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "CONFIG": str(config), "PYTHON": sys.executable},
        check=True,
        timeout=60,
    )
    return [before, *map(read, folders)]


@pytest.mark.parametrize("signer", SIGNERS)
def test_while_an_identity_key_is_replaced_nobody_is_refused(config: Path, signer: str):
    steps = rotated(config, IDENTITY_STEPS, signer)
    for before, after in pairwise(steps):
        for issuer in SIGNERS:
            for signs, verifies in ((before, after), (after, before), (after, after)):
                token = signs.signer(issuer).sign_service()
                assert verifies.verifier.verify(token).id == issuer
    # An identity that was signed before the last step was verified until then.
    with pytest.raises(Unauthorized):
        steps[-1].verifier.verify(steps[0].signer(signer).sign_service())
    unchanged = [name for name in steps[0].files if name not in ("common", signer)]
    assert all(steps[-1].files[name] == steps[0].files[name] for name in unchanged)
    again = rotated(config, IDENTITY_STEPS, signer)[-1]
    with pytest.raises(Unauthorized):
        again.verifier.verify(steps[-1].signer(signer).sign_service())
    assert again.verifier.verify(again.signer(signer).sign_service()).id == signer


def test_while_a_token_key_is_replaced_nobody_is_logged_out(config: Path):
    steps = rotated(config, TOKEN_STEPS)
    claims = Claims.new("user-ann", "ws-acme", "role-admin", now=time.time())
    for before, after in pairwise(steps):
        for signs, verifies in ((before, after), (after, before), (after, after)):
            token = signs.tokens(AUTH).sign(claims)
            for service in (GATEWAY, AUTH):
                assert verifies.tokens(service).verify(token) == claims
    with pytest.raises(Unauthorized):
        steps[-1].tokens(GATEWAY).verify(steps[0].tokens(AUTH).sign(claims))
    assert "," not in steps[-1].files[GATEWAY]["SIGMA_TOKEN_KEYS"]


def test_while_a_secret_key_is_replaced_every_secret_can_be_opened(config: Path):
    steps = rotated(config, SECRET_STEPS)
    place = Place("ws-acme", "webhook", "wh-shop")
    for before, after in pairwise(steps[:-1]):
        for seals, opens in ((before, after), (after, before)):
            assert opens.vault.open(seals.vault.seal("secret", place), place) == "secret"
    sealed = steps[-2].vault.seal("secret", place)
    assert steps[-1].vault.open(sealed, place) == "secret"
    with pytest.raises(CannotOpen):
        steps[-1].vault.open(steps[0].vault.seal("secret", place), place)
    assert "," not in steps[-1].files[WORKFLOW]["SIGMA_SECRET_KEYS"]

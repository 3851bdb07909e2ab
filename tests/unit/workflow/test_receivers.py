"""The checks of docs/how-to/receive-webhooks.md take what is signed here, and nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shared.errors import ValidationError
from tests.kit.pages import block
from tests.kit.servers import ROOT
from workflow_service.webhooks import signing

PAGE = ROOT / "docs" / "how-to" / "receive-webhooks.md"
STANDARD, PLAIN = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2Vj", "geheim ☕"
BODY = '{"name": "Ünïcode ☕ </"}'.encode()
DRIVERS = {
    "python": """
import json, sys
for case in json.load(sys.stdin):
    print(is_genuine(case["secret"], case["headers"], case["body"].encode()))
""",
    "javascript": """
for (const one of JSON.parse(require("node:fs").readFileSync(0))) {
  console.log(isGenuine(one.secret, one.headers, Buffer.from(one.body)) ? "True" : "False");
}
""",
    "php": """
foreach (json_decode(file_get_contents('php://stdin'), true) as $one) {
    echo is_genuine($one['secret'], $one['headers'], $one['body']) ? "True\n" : "False\n";
}
""",
}
PROGRAMS = {"python": sys.executable, "javascript": "node", "php": "php"}


def cases():
    """Secret, headers and body, and whether they are genuine."""
    now = int(time.time())
    for secret in (STANDARD, PLAIN):
        made = signing.headers("dlv-1", BODY, now, [secret])
        yield secret, made, BODY, True
        rotated = signing.headers("dlv-1", BODY, now, ["the new one", secret])
        yield secret, rotated, BODY, True
        yield secret, made, BODY + b" ", False
        yield secret[:-2] + "xx", made, BODY, False
        yield secret, made | {"webhook-id": "dlv-2"}, BODY, False
        old = signing.headers("dlv-1", BODY, now - 3_600, [secret])
        yield secret, old, BODY, False


@pytest.mark.parametrize("language", PROGRAMS)
def test_a_documented_check_takes_what_is_genuine_only(language: str, tmp_path: Path):
    program = shutil.which(PROGRAMS[language])
    if program is None:
        pytest.skip(f"{PROGRAMS[language]} is not installed")
    script = tmp_path / "receiver"
    opening = "<?php\n" if language == "php" else ""
    script.write_text(opening + block(language, PAGE) + DRIVERS[language])
    sent = [
        {"secret": secret, "headers": headers, "body": body.decode()}
        for secret, headers, body, _ in cases()
    ]
    done = subprocess.run(
        [program, str(script)],
        input=json.dumps(sent),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == [str(is_genuine) for *_, is_genuine in cases()]


def test_the_signature_of_the_contract_is_by_the_secret_as_it_is_written():
    made = signing.headers("dlv-1", b"{}", 1, [STANDARD, PLAIN])
    # printf '{}' | openssl dgst -sha256 -hmac whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2Vj
    expected = "7d501d078cb2c7657359e2888d35d7d9f37dd79655bbfb26d11612b14799ba1d"
    assert made["X-Sigma-Signature"] == expected
    assert len(made["webhook-signature"].split()) == 2
    assert signing.headers("dlv-1", b"{}", 1, []) == {
        "webhook-id": "dlv-1",
        "webhook-timestamp": "1",
    }


@pytest.mark.parametrize("secret", ["whsec_", "whsec_%%%", "whsec_abc"])
def test_a_secret_that_claims_to_be_base64_is(secret: str):
    with pytest.raises(ValidationError):
        signing.check(secret, "secret")

"""The reference page teaches: what it opens with, and that a login on it fills in the token."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.openapi.document import document
from shared.identity import Permission

START = Path(__file__).parents[2] / "gateway" / "static" / "start.js"

# A browser as far as start.js sees it; prints what the page did after each answer.
BROWSER = """
const fs = require("fs"), vm = require("vm");
const did = [], line = { hidden: true, textContent: "" };
const location = { href: "http://pim.example/docs", hash: "", pathname: "/docs" };
const ui = {
  layoutActions: { show: (what, open) => did.push([what[1], open]) },
  preauthorizeApiKey: (scheme, token) => did.push([scheme, token]),
};
let options;
const window = {};
const page = {
  window, location, URL, JSON,
  document: { getElementById: (id) => (id === "session" ? line : null) },
  history: { replaceState: (state, title, path) => did.push(["address", path]) },
  SwaggerUIBundle: Object.assign((given) => { options = given; return ui; }, { presets: {} }),
};
vm.runInNewContext(fs.readFileSync(process.argv[1], "utf8"), page);
options.onComplete();
const user = { name: "Ann", email: "ann@acme.example" };
const answers = [
  [true, "/api/v1/auth/login", { token: "first", user }],
  [true, "/api/v1/auth/refresh", { token: "second" }],
  [false, "/api/v1/auth/login", { error: "UNAUTHORIZED", message: "" }],
  [true, "/api/v1/records", { token: "none" }],
];
for (const [ok, path, body] of answers) {
  const given = { ok, url: "http://pim.example" + path, text: JSON.stringify(body) };
  if (options.responseInterceptor(given) !== given) throw new Error("the answer is lost");
}
console.log(JSON.stringify({ did, hidden: line.hidden, url: options.url }));
"""


def test_a_login_on_the_page_fills_in_the_token():
    if shutil.which("node") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("there is no node on this machine")
    done = subprocess.run(
        ["node", "-e", BROWSER, START], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "did": [
            ["Authentication", True],
            ["Records", True],
            ["address", "/docs"],
            ["bearer", "first"],
            ["bearer", "second"],
        ],
        "hidden": False,
        "url": "/docs/openapi.json",
    }


def test_the_page_opens_with_what_a_newcomer_needs():
    described = document()
    introduction = described["info"]["description"]
    sections = [line[3:] for line in introduction.splitlines() if line.startswith("## ")]
    assert sections == ["Getting started", "Seven concepts", "Every request and answer"]
    for concept in (
        *("Record", "Attribute and alias", "Scope", "Lifecycle and completeness"),
        *("Versions", "API keys"),
    ):
        assert f"\n**{concept}.** " in introduction
    for permission in Permission:
        assert f"\n| `{permission}` | " in introduction
    assert "](/docs/errors)" in introduction
    tags = [tag["name"] for tag in described["tags"]]
    assert (tags[:2], tags[-1]) == (["Authentication", "Records"], "Health")
    assert all(tag["description"] for tag in described["tags"])


def test_every_operation_names_the_permission_that_it_needs():
    for path, operations in document()["paths"].items():
        for method, operation in operations.items():
            last = operation["description"].splitlines()[-1]
            key = operation.get("x-api-key-permission")
            if operation["security"]:
                said = "not API keys" if key is None else f"API key permission: `{key}`"
                assert said in last, (method, path)
                assert "Role: " in last, (method, path)
            else:
                assert last == "No credential is needed.", (method, path)

"""A company moves in: its catalogue goes through the public API into a running system.

The small catalogue is invented here. The tests with the published one run where it is at hand: in
`SIGMA_REAL_DATA`, or beside the repository.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import subprocess
import sys

from tests.e2e.moving_in import (
    FILES,
    HEADER,
    ROOT,
    Mover,
    move_in,
    write_catalogue,
    write_rows,
)
from tests.kit.eventually import eventually
from tests.kit.sigma import Caller
from tests.kit.stack import AUTH, RECORDS

KNIFE = (
    "KN-1;knives;1;sale;all;Knife;Couteau;4006381333931;120.5;GRAM;19.9;25;440c;fish,bread;"
    "files/a.jpg;2012-04-20;KN-2,KN-3"
)
ALONE = KNIFE.removesuffix("KN-2,KN-3")
FORK = "KN-2;knives;0;;;Fork;;;;;;;;;;;"
SPOON = "KN-3;;1;;;Spoon;;;;;;;;;;;KN-1"


async def test_a_catalogue_moves_in_with_every_value_in_its_place(stack, tmp_path):
    room = await move_in(stack, tmp_path, [KNIFE, FORK, SPOON])
    done = await room.mover.run(room.data, "--media-base-url", "https://cdn.example/pim")
    assert done.code == 0, done.text
    assert done.counts("records") == {"created": 3}
    assert done.counts("relations") == {"created": 3}
    assert done.report["cells"] == {
        "filled": 25,
        "imported": 24,
        "deferred": 1,
        "refused": 0,
        "kept as edited in Sigma": 0,
        "not reached": 0,
    }
    record = (await room.workspace.admin.get("/records/ent-kn-1")).ok()
    assert (record["schemaId"], record["lifecycleStateId"]) == ("schema-knives", "state-draft")
    assert record["values"] == {
        "sku": [{"scope": {}, "value": "KN-1"}],
        "title": [
            {"scope": {"dim-locale": "seg-en_us"}, "value": "Knife"},
            {"scope": {"dim-locale": "seg-fr_fr"}, "value": "Couteau"},
        ],
        "gtin": [{"scope": {}, "value": "4006381333931"}],
        "mass": [{"scope": {}, "value": {"amount": 120.5, "unit": "val-unit-weight-gram"}}],
        "cost": [
            {"scope": {"dim-currency": "seg-eur"}, "value": 19.9},
            {"scope": {"dim-currency": "seg-usd"}, "value": 25},
        ],
        "steel": [{"scope": {}, "value": "val-steel-440c"}],
        "uses": [{"scope": {}, "value": ["val-uses-fish", "val-uses-bread"]}],
        "photo": [{"scope": {}, "value": "https://cdn.example/pim/files/a.jpg"}],
        "forged": [{"scope": {"dim-channel": "seg-web"}, "value": "2012-04-20"}],
        "enabled": [{"scope": {}, "value": True}],
        "groups": [{"scope": {}, "value": ["val-groups-sale"]}],
        "GOES_WITH-products": [{"scope": {}, "value": ["ent-kn-2", "ent-kn-3"]}],
    }
    spoon = (await room.workspace.admin.get("/records/ent-kn-3")).ok()
    assert spoon["schemaId"] == "schema-without-family"


async def test_publishing_needs_eighty_percent_of_what_the_channels_require(stack, tmp_path):
    room = await move_in(stack, tmp_path, [ALONE, FORK])
    assert (await room.mover.run(room.data)).code == 0
    admin = room.workspace.admin
    for record_id in ("ent-kn-1", "ent-kn-2"):
        (await admin.post(f"/records/{record_id}/transition", {"toStateId": "review"})).ok()
    (await admin.post("/records/ent-kn-1/transition", {"toStateId": "published"})).ok()
    refused = await admin.post("/records/ent-kn-2/transition", {"toStateId": "published"})
    assert refused.outcome == (
        400,
        {
            "error": "TRANSITION_ERROR",
            "message": "Completeness score 40% does not meet minimum 80%"
            " for transition to 'published'",
        },
    )


async def test_a_second_run_changes_nothing(stack, tmp_path):
    room = await move_in(stack, tmp_path, [KNIFE, FORK, SPOON])
    await room.mover.run(room.data)
    before = (await room.workspace.admin.get("/records")).ok()
    again = await room.mover.run(room.data)
    assert (again.code, again.all_unchanged) == (0, True), again.text
    assert again.counts("records") == {"unchanged": 3}
    assert again.counts("relations") == {"unchanged": 3}
    assert (await room.workspace.admin.get("/records")).ok() == before


MODEL_FILES = {
    "categories.csv": """\
code;parent;label-en_US;label-fr_FR
all;;Everything;Tout
kitchen;all;Kitchen;Cuisine
sharp;kitchen;Sharp;
""",
    "family_variants.csv": """\
code;family;variant-axes_1;variant-axes_2;variant-attributes_1;variant-attributes_2
by_steel;knives;steel;uses;steel;sku,uses,gtin
""",
    "product_models.csv": """\
code;family_variant;parent;categories;title-en_US;title-fr_FR;steel
chef;by_steel;;kitchen;Chef;Chef;
chef-hard;by_steel;chef;kitchen;Chef;Chef;440C
""",
}


async def test_product_models_and_category_trees_move_in(stack, tmp_path):
    variant = "CH-1;knives;1;;kitchen,sharp;Chef;Le chef;;;;;;440c;bread;;;"
    room = await move_in(stack, tmp_path, [])
    for name, text in MODEL_FILES.items():
        (room.data / name).write_text(text, encoding="utf-8")
    header = HEADER.replace("family;", "family;parent;")
    rows = [
        one.replace("knives;", f"knives;{parent};", 1)
        for one, parent in ((variant, "CHEF-hard"), (KNIFE.replace("KN-2,KN-3", "CH-1"), ""))
    ]
    (room.data / "products.csv").write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    done = await room.mover.run(room.data)
    assert done.code == 0, done.text
    admin = room.workspace.admin

    record = (await admin.get("/records/model-chef")).ok()
    assert (record["externalKey"], record["schemaId"]) == ("chef", "schema-knives")
    path = "/records/model-chef/variants/var-ch-1"
    stored = (await admin.get(path)).ok()
    assert (stored["parentId"], stored["level"]) == ("model-chef-hard", 2)
    assert set(stored["values"]) == {"sku", "title", "enabled", "uses"}
    resolved = (await admin.get(f"{path}/resolved")).ok()
    assert [one["value"] for one in resolved["effectiveValues"]["title"]] == ["Chef", "Le chef"]
    assert resolved["effectiveValues"]["steel"] == [{"scope": {}, "value": "val-steel-440c"}]
    # A relation leads to the record of the variant that it names.
    linked = (await admin.get("/records/ent-kn-1")).ok()["values"]["GOES_WITH-products"]
    assert linked == [{"scope": {}, "value": ["model-chef"]}]

    (kitchen,) = (await admin.get("/catalogs/cat-all/tree")).ok()
    assert kitchen["labels"] == {"seg-en_us": "Kitchen", "seg-fr_fr": "Cuisine"}
    assert [one["externalKey"] for one in kitchen["children"]] == ["sharp"]
    for category in ("ctg-kitchen", "ctg-sharp"):
        page = (await admin.get(f"/categories/{category}/entities")).ok()
        assert [one["id"] for one in page["items"]] == ["model-chef"]

    again = await room.mover.run(room.data)
    assert again.all_unchanged, again.text
    assert again.counts("variants") == {"unchanged": 2}
    assert again.counts("assignments") == {"unchanged": 2}


async def test_a_change_in_the_catalogue_is_followed_and_what_sigma_added_stays(stack, tmp_path):
    room = await move_in(stack, tmp_path, [KNIFE, FORK])
    await room.mover.run(room.data)
    await room.workspace.attribute("own")
    schema = (await room.workspace.admin.get("/schemas/schema-knives")).ok()
    schema["attributeGroups"][0]["attributeIds"].append("attr-own")
    (await room.workspace.admin.put("/schemas/schema-knives", schema)).ok()
    own = {"values": {"own": [{"scope": {}, "value": "ours"}]}}
    key = await room.workspace.api_key()
    (await key.put("/records/ent-kn-1", own)).ok()

    write_catalogue(room.data, KNIFE.replace("Couteau", "Canif"), FORK, SPOON)
    options = (room.data / "attribute_options.csv").read_text() + "D2;D2;steel;2\n"
    (room.data / "attribute_options.csv").write_text(options)
    done = await room.mover.run(room.data)
    assert done.code == 0, done.text
    assert done.counts("records") == {"created": 1, "changed": 1, "unchanged": 1}
    assert done.counts("option lists") == {"changed": 1, "unchanged": 3}
    assert "records 'KN-1' (line 2): title" in done.report["changes"]
    record = (await room.workspace.admin.get("/records/ent-kn-1")).ok()
    assert [entry["value"] for entry in record["values"]["title"]] == ["Knife", "Canif"]
    assert record["values"]["own"] == [{"scope": {}, "value": "ours"}]


async def test_what_a_person_edited_in_sigma_is_kept_unless_asked_otherwise(stack, tmp_path):
    room = await move_in(stack, tmp_path, [ALONE, FORK])
    await room.mover.run(room.data)
    english = {"scope": {"dim-locale": "seg-en_us"}, "value": "Better fork"}
    path = "/records/ent-kn-2/values/title"
    (await room.workspace.admin.patch(path, english)).ok()

    kept = await room.mover.run(room.data)
    assert (kept.code, kept.counts("records")) == (0, {"unchanged": 1, "kept": 1}), kept.text
    assert kept.report["cells"]["kept as edited in Sigma"] == 4
    assert "was kept as edited by 'user-admin'; it differs in title" in kept.text

    taken = await room.mover.run(room.data, "--overwrite-edits")
    assert (taken.code, taken.counts("records")) == (0, {"unchanged": 1, "changed": 1})
    record = (await room.workspace.admin.get("/records/ent-kn-2")).ok()
    assert record["values"]["title"] == [{**english, "value": "Fork"}]


async def test_a_refused_value_is_told_with_row_attribute_and_message_and_the_rest_moves(
    stack, tmp_path
):
    rows = [
        KNIFE.replace("Couteau", "C" * 21),
        "KN-5;knives;1;;;Lonely;;4006381333948;heavy;GRAM;;;tin;;;;KN-9",
        "KN-4;knives;1;;;Twin;;4006381333948;;;;;;;;;",
    ]
    room = await move_in(stack, tmp_path, rows)
    done = await room.mover.run(room.data, "--concurrency", "1")
    assert done.code == 1
    problems = [
        (p["kind"], p["line"], p["columns"], p["code"], p["message"])
        for p in done.report["problems"]
    ]
    assert problems == [
        ("records", 3, ["steel"], "", "'tin' is not a declared option"),
        ("records", 3, ["mass", "mass-unit"], "", "'heavy' is not a number"),
        (
            "records",
            2,
            ["title-fr_FR"],
            "VALIDATION_ERROR",
            "Value for 'title' exceeds maximum length 20, got 21",
        ),
        (
            "records",
            4,
            [],
            "CONFLICT",
            "Value '4006381333948' for attribute 'gtin' must be unique",
        ),
        ("relations", 2, ["GOES_WITH-products"], "", "names a product that was not imported"),
        ("relations", 2, ["GOES_WITH-products"], "", "names a product that was not imported"),
        ("relations", 3, ["GOES_WITH-products"], "", "names a product that was not imported"),
    ]
    assert done.counts("records") == {"created": 2, "refused": 1}
    cells = done.report["cells"]
    assert cells["filled"] == sum(count for place, count in cells.items() if place != "filled")
    record = (await room.workspace.admin.get("/records/ent-kn-1")).ok()
    assert [entry["value"] for entry in record["values"]["title"]] == ["Knife"]


async def test_a_record_in_a_closed_state_is_refused_and_the_others_go_on(stack, tmp_path):
    room = await move_in(stack, tmp_path, [ALONE, FORK])
    await room.mover.run(room.data)
    workflow = (await room.workspace.admin.get("/workflows/wf-knives")).ok()
    workflow["states"][0]["readOnly"] = ["attr-steel"]
    (await room.workspace.admin.put("/workflows/wf-knives", workflow)).ok()

    (room.data / "attribute_options.csv").write_text(
        FILES["attribute_options.csv"] + "D2;D2;steel;2\n"
    )
    write_rows(room.data, ALONE.replace("440c", "D2"), FORK.replace("Fork", "New fork"))
    done = await room.mover.run(room.data)
    assert (done.code, done.report["stopped"]) == (1, None)
    assert done.counts("records") == {"changed": 1, "refused": 1}
    assert [(p["line"], p["code"], p["message"]) for p in done.report["problems"]] == [
        (2, "PERMISSION_DENIED", "Permission denied to change steel")
    ]


async def test_a_translation_that_is_refused_later_leaves_the_others_as_they_are(stack, tmp_path):
    room = await move_in(stack, tmp_path, [ALONE])
    await room.mover.run(room.data)
    own = {"scope": {}, "value": "Anywhere"}
    key = await room.workspace.api_key()
    (await key.patch("/records/ent-kn-1/values/title", own)).ok()
    write_rows(room.data, ALONE.replace("Couteau", "C" * 21).replace("Knife", "Blade"))
    done = await room.mover.run(room.data)
    assert [p["columns"] for p in done.report["problems"]] == [["title-fr_FR"]], done.text
    assert done.counts("records") == {"changed": 1}
    title = (await room.workspace.admin.get("/records/ent-kn-1")).ok()["values"]["title"]
    assert sorted(entry["value"] for entry in title) == ["Anywhere", "Blade", "Couteau"]


async def test_a_workspace_with_other_things_in_it_is_not_overwritten(stack, tmp_path):
    room = await move_in(stack, tmp_path, [ALONE])
    await room.workspace.attribute("title", "number")
    done = await room.mover.run(room.data)
    assert done.code == 1
    assert done.counts("attributes")["refused"] == 1
    assert "whose type is 'number', not 'text'; use a workspace of its own or --prefix" in done.text
    assert (await room.workspace.admin.get("/attributes/attr-title")).ok()["type"] == "number"
    record = (await room.workspace.admin.get("/records/ent-kn-1")).ok()
    assert "title" not in record["values"]

    apart = await room.mover.run(room.data, "--prefix", "old-")
    assert apart.code == 0, apart.text
    record = (await room.workspace.admin.get("/records/ent-old-kn-1")).ok()
    assert [entry["value"] for entry in record["values"]["old-title"]] == ["Knife", "Couteau"]


def many(count: int) -> list[str]:
    return [f"KN-{n};knives;1;;;Knife {n};;;{n};GRAM;;;440C;fish;;;" for n in range(count)]


async def test_a_service_that_goes_away_meanwhile_is_waited_for(stack, tmp_path):
    for number in range(5):
        folder = tmp_path / f"try-{number}"
        folder.mkdir()
        room = await move_in(stack, folder, many(1_000), record_limit=2_000)
        running = room.mover.start(room.data)
        await until_records(room.workspace.admin, 20)
        await stack.kill(RECORDS)
        await asyncio.sleep(1)
        await stack.start(RECORDS)
        done = await room.mover.end_of(running)
        assert done.code == 0, done.text
        assert done.counts("records") == {"created": 1_000}
        # On a busy machine it may have been over before this process saw how far it was.
        if done.report["retries"]:
            return
    raise AssertionError("it was never waited for")


async def test_a_run_that_was_killed_is_finished_by_the_next(stack, tmp_path):
    room = await move_in(stack, tmp_path, many(1_000), record_limit=2_000)
    running = room.mover.start(room.data)
    await until_records(room.workspace.admin, 20)
    running.send_signal(signal.SIGKILL)
    await asyncio.to_thread(running.communicate)
    done = await room.mover.run(room.data)
    assert done.code == 0, done.text
    counts = done.counts("records")
    assert counts["unchanged"] >= 20
    assert counts["created"] + counts["unchanged"] == 1_000


async def test_an_interrupted_run_tells_what_it_did(stack, tmp_path):
    room = await move_in(stack, tmp_path, many(1_000), record_limit=2_000)
    running = room.mover.start(room.data)
    await until_records(room.workspace.admin, 20)
    running.send_signal(signal.SIGINT)
    done = await room.mover.end_of(running)
    assert done.code == 1
    assert "STOPPED: interrupted; run again to finish" in done.text
    cells = done.report["cells"]
    assert cells["filled"] == sum(count for place, count in cells.items() if place != "filled")
    assert sum(done.counts("records").values()) == 1_000


async def until_records(admin: Caller, count: int) -> None:
    async def enough() -> bool:
        total: int = (await admin.get("/records", params={"limit": "1"})).ok()["total"]
        return total >= count

    await eventually(enough, within_s=60)


async def test_a_key_without_the_permissions_is_told_which_it_needs(stack, tmp_path):
    room = await move_in(stack, tmp_path, [ALONE])
    reader = Mover(stack, tmp_path, await room.workspace.api_key(["read"]))
    done = await reader.run(room.data)
    assert done.code == 1
    assert (
        "STOPPED: Permission denied. The API key needs the permissions read, update-data"
        in done.text
    )
    stranger = Mover(stack, tmp_path, stack.caller(**{"X-Sigma-ApiKey": "nobody"}))
    assert "the API key is not accepted: Invalid API key" in (await stranger.run(room.data)).text


async def test_make_load_makes_the_workspace_its_user_and_a_key_that_does_not_stay(stack, tmp_path):
    data = tmp_path / "old-catalogue"
    data.mkdir()
    write_catalogue(data, ALONE)
    workspace = f"ws-{secrets.token_hex(6)}"
    running = tmp_path / "run"
    running.mkdir()
    (running / "lock").write_text(f"process 1, {stack.url}")
    (running / "databases.json").write_text(json.dumps({AUTH: stack.databases[AUTH]}))
    command = [sys.executable, "-m", "deploy.importers", str(data), "--folder", str(running)]
    for already in ("created", "unchanged"):
        done = await asyncio.to_thread(
            subprocess.run,
            [*command, "--workspace", workspace, "--report", str(tmp_path / "report.json")],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        report = json.loads((tmp_path / "report.json").read_text())
        assert report["objects"]["records"][already] == 1

    login = json.loads((running / f"login-{workspace}.json").read_text())
    answer = (await stack.caller().post("/auth/login", login)).ok()
    admin = stack.caller(Authorization=f"Bearer {answer['token']}")
    assert (await admin.get("/records")).ok()["total"] == 1
    assert (await admin.get("/api-keys")).ok() == []


async def test_make_load_says_what_to_do_when_nothing_runs(tmp_path):
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "deploy.importers", str(tmp_path), "--folder", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "make run is not running: start it in another terminal, then run this again.\n"
    )

"""Sends files to import, and lets their jobs run to the end."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import aiohttp

from records_service.app import IMPORT_JOB
from records_service.imports.jobs import Imports
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Answer, Caller

TURNS_MAX = 10_000


def form(content: bytes, name: str, **fields: Any) -> tuple[bytes, dict[str, str]]:
    """A form with the file, and its headers; fields that are no text are written as JSON."""
    boundary = "sigma-boundary"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n'
        f"{value if isinstance(value, str) else json.dumps(value)}\r\n".encode()
        for field, value in fields.items()
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + content
        + f"\r\n--{boundary}--\r\n".encode()
    )
    return b"".join(parts), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


async def send(caller: Caller, content: bytes | str, name: str, **fields: Any) -> Answer:
    """The answer to `POST /imports`."""
    raw = content.encode() if isinstance(content, str) else content
    data, headers = form(raw, name, **fields)
    return await caller.post("/imports", data=data, headers=headers)


async def turn(workspace: RecordsWorkspace, imports: Imports, import_id: str) -> bool:
    """One slice of a job; whether more is left."""
    imports.app = workspace.records.app
    async with workspace.database.transaction() as conn:
        return await imports.run_some(conn, workspace.id, import_id)


async def finish(workspace: RecordsWorkspace, import_id: str) -> dict[str, Any]:
    """The job after its last slice."""
    imports = Imports()
    for _ in range(TURNS_MAX):
        if not await turn(workspace, imports, import_id):
            break
    job: dict[str, Any] = (await workspace.admin.get(f"/imports/{import_id}")).ok()
    counted = sum(job[one] for one in ("created", "updated", "unchanged", "skipped", "failed"))
    assert counted == job["processed"]
    return job


async def run(
    workspace: RecordsWorkspace, content: bytes | str, name: str = "x.csv", **fields: Any
) -> dict[str, Any]:
    """The job of this file after its last slice."""
    begun = await send(workspace.admin, content, name, **fields)
    assert begun.status == 202, begun.outcome
    assert begun.headers["Location"] == f"/api/v1/imports/{begun.body['id']}"
    assert begun.body["status"] == "queued"
    return await finish(workspace, begun.body["id"])


async def errors_of(caller: Caller, import_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await caller.get(f"/imports/{import_id}/errors")).ok()["items"]
    return found


async def download(caller: Caller, address: str, accept: str = "*/*") -> bytes:
    """The bytes of an answer."""
    headers = {**caller.headers, "Accept": accept}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{caller.url}/api/v1{address}") as response,
    ):
        body = await response.read()
        assert response.status == 200, body
        return body


__all__ = ["IMPORT_JOB", "download", "errors_of", "finish", "form", "run", "send", "turn"]


async def build(workspace: RecordsWorkspace) -> None:
    """The data model into which the files are imported: schema `x`."""
    await workspace.dimension("language", ["en", "da"])
    await workspace.attribute("name", dimensionIds=["dim-language"])
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.attribute("price", "number")
    await workspace.schema("x", ["name", "sku", "price"])


async def values(workspace: RecordsWorkspace) -> dict[str, Any]:
    """SKU -> the names by scope, and the price."""
    listed = (await workspace.admin.get("/records?limit=500")).ok()["items"]
    return {
        one["values"].get("sku", [{"value": ""}])[0]["value"]: {
            **{str(each["scope"]): each["value"] for each in one["values"].get("name", ())},
            **({"price": one["values"]["price"][0]["value"]} if "price" in one["values"] else {}),
        }
        for one in listed
    }


def workbook(*rows: str, **parts: str) -> bytes:
    """A spreadsheet whose sheet has these rows of XML."""
    made = io.BytesIO()
    rels = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    contents = {
        "xl/_rels/workbook.xml.rels": "<Relationships>"
        f'<Relationship Id="rId1" Type="{rels}/worksheet" Target="worksheets/sheet1.xml"/>'
        "</Relationships>",
        "xl/workbook.xml": f'<workbook xmlns:r="{rels}"><sheets>'
        '<sheet name="A" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/worksheets/sheet1.xml": "<worksheet><sheetData>"
        f"{''.join(rows)}</sheetData></worksheet>",
        **{name.replace("__", "/") + ".xml": content for name, content in parts.items()},
    }
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return made.getvalue()


def inline(*texts: str) -> str:
    """A row of a spreadsheet with these texts."""
    cells = "".join(f'<c t="inlineStr"><is><t>{text}</t></is></c>' for text in texts)
    return f"<row>{cells}</row>"

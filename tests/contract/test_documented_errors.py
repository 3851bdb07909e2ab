"""Every documented example of the error page: status, code and message, through the gateway."""

from __future__ import annotations

import pytest

from tests.kit.sigma import error
from tests.kit.workspace import entries

SKU = r"^[A-Z]{2}-\d{3}$"


@pytest.fixture
async def sigma(stack):
    """A workspace with room for two records, in the words of the error page."""
    sigma = await stack.workspace(record_limit=2)
    await sigma.attribute("product-name")
    await sigma.attribute("sku", validation={"unique": True, "pattern": SKU})
    await sigma.attribute("price", "number", validation={"min": 0, "max": 10_000})
    await sigma.attribute("note", validation={"maxLength": 3})
    await sigma.workflow(
        "lifecycle",
        {
            "draft": {},
            "review": {"required": ["attr-product-name", "attr-price"]},
            "published": {},
        },
        [
            ("draft", "review", {"requiresCompleteness": 80}),
            ("review", "published", {"allowedRoleIds": ["role-admin"]}),
            ("draft", "published", {"allowedRoleIds": ["role-admin"]}),
        ],
    )
    await sigma.role("role-editor", {"schema-apparel": {"*": "write", "attr-price": "read"}})
    await sigma.schema("apparel", ["product-name", "sku", "price", "note"], "wf-lifecycle")
    await sigma.record("schema-apparel", {"sku": "AB-123", "price": 5}, id="ent-abc123")
    return sigma


def draft(**values):
    return {"schemaId": "schema-apparel", "values": entries(values)}


async def _login_without_password(stack, sigma):
    return await stack.caller().post("/auth/login", {"email": "admin@sigma.io"})


async def _login_with_wrong_password(stack, sigma):
    credentials = {"email": sigma.email("user-admin"), "password": "wrong"}
    return await stack.caller().post("/auth/login", credentials)


async def _login_as_nobody(stack, sigma):
    credentials = {"email": f"nobody@{sigma.id}.test", "password": "wrong"}
    return await stack.caller().post("/auth/login", credentials)


async def _wrong_type(stack, sigma):
    return await sigma.admin.post("/records", draft(price="12"))


async def _pattern(stack, sigma):
    return await sigma.admin.post("/records", draft(sku="nope"))


async def _too_long(stack, sigma):
    return await sigma.admin.post("/records", draft(note="long"))


async def _too_small(stack, sigma):
    return await sigma.admin.post("/records", draft(price=-1))


async def _too_large(stack, sigma):
    return await sigma.admin.post("/records", draft(price=10_001))


async def _unknown_attribute(stack, sigma):
    return await sigma.admin.post("/records", draft(colour="red"))


async def _required(stack, sigma):
    return await sigma.admin.post("/records", {"values": {}})


async def _transition_not_defined(stack, sigma):
    (await sigma.admin.put("/records/ent-abc123", {"values": entries({"product-name": "x"})})).ok()
    move = "/records/ent-abc123/transition"
    (await sigma.admin.post(move, {"toStateId": "state-review"})).ok()
    return await sigma.admin.post(move, {"toStateId": "state-draft"})


async def _score_too_low(stack, sigma):
    return await sigma.admin.post("/records/ent-abc123/transition", {"toStateId": "state-review"})


async def _role_gate(stack, sigma):
    editor = await sigma.user("role-editor")
    return await editor.post("/records/ent-abc123/transition", {"toStateId": "state-published"})


async def _no_credential(stack, sigma):
    return await stack.caller().get("/schemas")


async def _bad_token(stack, sigma):
    return await stack.caller(Authorization="Bearer x.y.z").get("/schemas")


async def _bad_key(stack, sigma):
    return await stack.caller(**{"X-Sigma-ApiKey": "sigma_sk_live_x"}).get("/schemas")


async def _attribute_not_writable(stack, sigma):
    editor = await sigma.user("role-editor")
    return await editor.put("/records/ent-abc123", {"values": entries({"price": 6})})


async def _key_without_permission(stack, sigma):
    reader = await sigma.api_key(["read"])
    return await reader.post("/records", draft())


async def _limit(stack, sigma):
    await sigma.record("schema-apparel")
    return await sigma.admin.post("/records", draft())


async def _no_entity(stack, sigma):
    return await sigma.admin.get("/records/ent-nowhere")


async def _no_schema(stack, sigma):
    return await sigma.admin.get("/schemas/schema-nowhere")


async def _no_workflow(stack, sigma):
    return await sigma.admin.get("/workflows/wf-nowhere")


async def _no_role(stack, sigma):
    return await sigma.admin.get("/roles/role-nowhere")


async def _no_dimension(stack, sigma):
    return await sigma.admin.get("/dimensions/dim-nowhere")


async def _no_option_list(stack, sigma):
    return await sigma.admin.get("/option-lists/ol-nowhere")


async def _no_attribute(stack, sigma):
    return await sigma.admin.get("/attributes/attr-nowhere")


async def _no_api_key(stack, sigma):
    return await sigma.admin.delete("/api-keys/apikey-nowhere")


async def _id_taken(stack, sigma):
    return await sigma.admin.post("/records", {"id": "ent-abc123", "schemaId": "schema-apparel"})


async def _value_taken(stack, sigma):
    return await sigma.admin.post("/records", draft(sku="AB-123"))


async def _workflow_in_use(stack, sigma):
    return await sigma.admin.delete("/workflows/wf-lifecycle")


async def _schema_in_use(stack, sigma):
    return await sigma.admin.delete("/schemas/schema-apparel")


async def _attribute_in_use(stack, sigma):
    return await sigma.admin.delete("/attributes/attr-sku")


async def _no_route(stack, sigma):
    return await sigma.admin.get("/nowhere")


async def _no_method(stack, sigma):
    return await sigma.admin.patch("/records", {})


async def _no_json(stack, sigma):
    return await sigma.admin.post("/records", data=b"a=b", headers={"Content-Type": "text/plain"})


EXAMPLES = [
    (_login_without_password, 400, "VALIDATION_ERROR", "Email and password are required"),
    (_wrong_type, 400, "VALIDATION_ERROR", "Attribute 'price' expects type 'number', got 'string'"),
    (_pattern, 400, "VALIDATION_ERROR", f"Value for 'sku' does not match pattern '{SKU}'"),
    (_too_long, 400, "VALIDATION_ERROR", "Value for 'note' exceeds maximum length 3"),
    (_too_small, 400, "VALIDATION_ERROR", "Value for 'price' must be at least 0"),
    (_too_large, 400, "VALIDATION_ERROR", "Value for 'price' must be at most 10000"),
    (_unknown_attribute, 400, "VALIDATION_ERROR", "Unknown attribute 'colour'"),
    (_required, 400, "VALIDATION_ERROR", "Field 'schemaId' is required"),
    (
        _transition_not_defined,
        400,
        "TRANSITION_ERROR",
        "Transition from 'review' to 'draft' is not allowed",
    ),
    (
        _score_too_low,
        400,
        "TRANSITION_ERROR",
        "Completeness score 50% does not meet minimum 80% for transition to 'review'",
    ),
    (
        _role_gate,
        400,
        "TRANSITION_ERROR",
        "Role 'role-editor' is not allowed to transition from 'draft' to 'published'",
    ),
    (_no_credential, 401, "UNAUTHORIZED", "Missing authentication"),
    (_bad_token, 401, "UNAUTHORIZED", "Invalid or expired token"),
    (_bad_key, 401, "UNAUTHORIZED", "Invalid API key"),
    (_login_with_wrong_password, 401, "UNAUTHORIZED", "Invalid email or password"),
    (_login_as_nobody, 401, "UNAUTHORIZED", "Invalid email or password"),
    (_attribute_not_writable, 403, "PERMISSION_DENIED", "Permission denied"),
    (_key_without_permission, 403, "PERMISSION_DENIED", "Permission denied"),
    (_limit, 403, "LIMIT_EXCEEDED", "Entity limit of 2 reached"),
    (_no_entity, 404, "NOT_FOUND", "Entity 'ent-nowhere' not found"),
    (_no_schema, 404, "NOT_FOUND", "Schema 'schema-nowhere' not found"),
    (_no_workflow, 404, "NOT_FOUND", "Workflow 'wf-nowhere' not found"),
    (_no_role, 404, "NOT_FOUND", "Role 'role-nowhere' not found"),
    (_no_dimension, 404, "NOT_FOUND", "Dimension 'dim-nowhere' not found"),
    (_no_option_list, 404, "NOT_FOUND", "Option list 'ol-nowhere' not found"),
    (_no_attribute, 404, "NOT_FOUND", "Attribute 'attr-nowhere' not found"),
    (_no_api_key, 404, "NOT_FOUND", "API key 'apikey-nowhere' not found"),
    (_id_taken, 409, "CONFLICT", "Entity with id 'ent-abc123' already exists"),
    (_value_taken, 409, "CONFLICT", "Value 'AB-123' for attribute 'sku' must be unique"),
    (_workflow_in_use, 409, "CONFLICT", "Workflow 'wf-lifecycle' is in use and cannot be deleted"),
    (_schema_in_use, 409, "CONFLICT", "Schema 'schema-apparel' is in use and cannot be deleted"),
    (_attribute_in_use, 409, "CONFLICT", "Attribute 'attr-sku' is in use and cannot be deleted"),
]


@pytest.mark.parametrize(
    ("ask", "status", "code", "message"), EXAMPLES, ids=lambda part: getattr(part, "__name__", "")
)
async def test_an_example_of_the_error_page(stack, sigma, ask, status, code, message):
    answer = await ask(stack, sigma)
    assert answer.outcome == error(status, code, message)
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("ask", "status", "code", "header"),
    [
        (_no_route, 404, "NOT_FOUND", None),
        (_no_method, 405, "METHOD_NOT_ALLOWED", "Allow"),
        (_no_json, 415, "UNSUPPORTED_MEDIA_TYPE", None),
        (_no_credential, 401, "UNAUTHORIZED", "WWW-Authenticate"),
    ],
    ids=lambda part: getattr(part, "__name__", ""),
)
async def test_the_statuses_beyond_the_page(stack, sigma, ask, status, code, header):
    answer = await ask(stack, sigma)
    assert (answer.status, answer.body["error"], set(answer.body)) == (
        status,
        code,
        {"error", "message"},
    )
    assert header is None or answer.headers[header]


async def test_a_problem_document_comes_only_when_asked_for_by_name(sigma):
    body = draft(price="12", colour="red")
    plain = await sigma.admin.post("/records", body, headers={"Accept": "*/*"})
    assert set(plain.body) == {"error", "message"}
    problem = await sigma.admin.post(
        "/records", body, headers={"Accept": "application/problem+json"}
    )
    assert problem.headers["Content-Type"].startswith("application/problem+json")
    assert (problem.body["status"], problem.body["code"]) == (400, "VALIDATION_ERROR")
    assert problem.body["errors"] == [
        {
            "pointer": "/values/price/0/value",
            "detail": "Attribute 'price' expects type 'number', got 'string'",
        },
        {"pointer": "/values/colour", "detail": "Unknown attribute 'colour'"},
    ]

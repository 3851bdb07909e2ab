// What an integrator writes with openapi-fetch on the types that openapi-typescript generates.
//
//     node typescript_client.js <url> <e-mail address> <password>
//
// Compiled strictly and run by tests/contract/test_generated_clients.py, in a workspace that holds
// the demo catalogue.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./sigma.js";

type Role = components["schemas"]["Role"];
type ErrorCode = components["schemas"]["ErrorCode"];
type Client = ReturnType<typeof createClient<paths>>;

const id = "ent-generated";

/** The answer of a call that must succeed. */
function dataOf<T>(answer: { data?: T; error?: { error: ErrorCode; message: string } }): T {
  assert.equal(answer.error, undefined, answer.error?.message);
  assert.ok(answer.data !== undefined);
  return answer.data;
}

async function logIn(client: Client, email: string, password: string): Promise<void> {
  const wrong = await client.POST("/api/v1/auth/login", { body: { email, password: "wrong" } });
  assert.equal(wrong.error?.error, "UNAUTHORIZED" satisfies ErrorCode);
  const session = dataOf(await client.POST("/api/v1/auth/login", { body: { email, password } }));
  assert.equal(session.user.email, email);
  client.use({
    onRequest({ request }) {
      request.headers.set("Authorization", `Bearer ${session.token}`);
      return request;
    },
  });
}

async function writeRecords(client: Client): Promise<void> {
  const body: components["schemas"]["RecordDraft"] = {
    id,
    schemaId: "schema-apparel",
    values: {
      "product-name": [
        { scope: { "dim-language": "seg-en" }, value: "Generated Jacket" },
        { scope: { "dim-language": "seg-da" }, value: "Genereret jakke" },
      ],
      sku: [{ scope: {}, value: "GJ-901" }],
      price: [{ scope: { "dim-market": "seg-dk" }, value: 899 }],
    },
  };
  const created = await client.POST("/api/v1/records", { body });
  assert.equal(dataOf(created).lifecycleStateId, "state-draft");
  assert.equal(created.response.status, 201);
  assert.equal(created.response.headers.get("Location"), `/api/v1/records/${id}`);

  const again = await client.POST("/api/v1/records", { body });
  assert.equal(again.response.status, 409);
  assert.equal(again.error?.error, "CONFLICT" satisfies ErrorCode);
  assert.match(again.error?.message ?? "", /already exists/);

  const invalid = await client.POST("/api/v1/records", {
    body: { schemaId: "schema-apparel", values: { price: [{ value: "cheap" }] } },
  });
  assert.equal(invalid.response.status, 400);
  assert.equal(invalid.error?.error, "VALIDATION_ERROR" satisfies ErrorCode);

  const changes = { values: { description: [{ scope: {}, value: "Made by a program" }] } };
  const stale = await client.PUT("/api/v1/records/{id}", {
    params: { path: { id }, header: { "If-Match": '"99"' } },
    body: changes,
  });
  assert.equal(stale.response.status, 412);
  assert.equal(stale.error?.error, "PRECONDITION_FAILED" satisfies ErrorCode);
  const version = created.response.headers.get("ETag");
  assert.ok(version !== null);
  const changed = await client.PUT("/api/v1/records/{id}", {
    params: { path: { id }, header: { "If-Match": version } },
    body: changes,
  });
  assert.equal(dataOf(changed).values["description"]?.[0]?.value, "Made by a program");
  const cleared = await client.PUT("/api/v1/records/{id}", {
    params: { path: { id } },
    body: { values: { description: null } },
  });
  assert.equal(dataOf(cleared).values["description"], undefined);
}

/** A key without `read` is answered the id only, whatever the type says. */
async function writeWithoutReading(client: Client, baseUrl: string): Promise<void> {
  const draft: components["schemas"]["ApiKeyDraft"] = {
    name: "Stock levels",
    permissions: ["update-data"],
  };
  const key = dataOf(await client.POST("/api/v1/api-keys", { body: draft }));
  const headers = { "X-Sigma-ApiKey": key.key };
  const written = await createClient<paths>({ baseUrl, headers }).PUT("/api/v1/records/{id}", {
    params: { path: { id } },
    body: { values: { description: [{ scope: {}, value: "Written unread" }] } },
  });
  assert.deepEqual(dataOf(written), { id });
  assert.ok(written.response.headers.has("ETag"));
}

async function writeARoleBack(client: Client): Promise<void> {
  const params = { path: { id: "role-editor" } };
  const before: Role = dataOf(await client.GET("/api/v1/roles/{id}", { params }));
  assert.equal(before.schemaPermissions[0]?.attributePermissions?.["attr-price"], "read");
  const after: Role = dataOf(await client.PUT("/api/v1/roles/{id}", { params, body: before }));
  assert.deepEqual(after.schemaPermissions, before.schemaPermissions);
  assert.deepEqual(dataOf(await client.GET("/api/v1/roles/{id}", { params })), after);
}

async function walkTheLifecycle(client: Client): Promise<void> {
  const params = { path: { id } };
  const found = dataOf(await client.GET("/api/v1/records/{id}/transitions", { params }));
  const reason = found[0]?.reasons[0];
  assert.equal(found[0]?.allowed, false);
  assert.ok(reason !== undefined && reason.code === "COMPLETENESS");
  assert.ok(reason.missing?.includes("material"));
  const complete = {
    description: [{ scope: { "dim-language": "seg-en" }, value: "A jacket" }],
    material: [{ scope: { "dim-language": "seg-en" }, value: "Wool" }],
    category: [{ scope: {}, value: "val-jackets" }],
    color: [{ scope: {}, value: ["val-navy"] }],
  };
  dataOf(await client.PUT("/api/v1/records/{id}", { params, body: { values: complete } }));
  const scope = JSON.stringify({ "dim-language": "seg-en" });
  const completeness = dataOf(
    await client.GET("/api/v1/records/{id}/completeness", {
      params: { ...params, query: { stateId: "state-review", scope } },
    }),
  );
  assert.equal(completeness.score, 100);
  const body = { toStateId: "state-review" };
  const moved = dataOf(await client.POST("/api/v1/records/{id}/transition", { params, body }));
  assert.equal(moved.lifecycleStateId, "state-review");
}

const [url, email, password] = process.argv.slice(2);
assert.ok(url !== undefined && email !== undefined && password !== undefined);
const client = createClient<paths>({ baseUrl: url });
await logIn(client, email, password);
await writeRecords(client);
await writeWithoutReading(client, url);
await writeARoleBack(client);
await walkTheLifecycle(client);
console.log("everything was as expected");

// The five requests of README.md in JavaScript, for Node.js 18 or newer, without any package.
//
//     node docs/tour.mjs [address] [e-mail address] [password]
//
// It logs in, reads a product, creates one, sets its price in one market and asks what keeps it from
// the next step of its lifecycle. It can be run again: what is there already is used.

const [address = "http://127.0.0.1:8080", email = "admin@sigma.io", password = "admin"] =
  process.argv.slice(2);
const ATTEMPTS_MAX = 3;
const ANSWER_WITHIN_MS = 40_000;

/** An answer that is not a success: `code` is for programs, `message` for people. */
class ApiError extends Error {
  constructor(status, { error, message }, requestId) {
    super(`${status} ${error}: ${message} (X-Request-Id ${requestId})`);
    this.status = status;
    this.code = error;
  }
}

let token;

/**
 * The answer's body and its `ETag` as `version`, or an ApiError.
 *
 * 429 and 503 mean that nothing was changed: the request is sent again after `Retry-After`. Nothing
 * else is repeated. After 504 or a broken connection a change may have been made.
 */
async function call(method, path, { body, ifMatch } = {}) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (ifMatch) headers["If-Match"] = ifMatch;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  for (let attempt = 1; ; attempt++) {
    const answer = await fetch(`${address}/api/v1${path}`, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
    });
    if ([429, 503].includes(answer.status) && attempt < ATTEMPTS_MAX) {
      const seconds = Number(answer.headers.get("Retry-After"));
      await answer.body?.cancel();
      await new Promise((done) => setTimeout(done, seconds * 1000));
      continue;
    }
    const text = await answer.text();
    const told = text ? JSON.parse(text) : null;
    if (!answer.ok) throw new ApiError(answer.status, told, answer.headers.get("X-Request-Id"));
    return { body: told, version: answer.headers.get("ETag") };
  }
}

/** An id of our own makes it safe to send this again: the second time it is a conflict. */
async function createCap() {
  const cap = {
    id: "ent-harbour-cap",
    schemaId: "schema-apparel",
    values: {
      "product-name": [{ scope: { "dim-language": "seg-en" }, value: "Harbour Cap" }],
      sku: [{ scope: {}, value: "HC-900" }],
    },
  };
  try {
    await call("POST", "/records", { body: cap });
    console.log("Created ent-harbour-cap");
  } catch (error) {
    if (error.code !== "CONFLICT") throw error;
    console.log(`Nothing to create: ${error.message}`);
  }
}

/** Of the version that was read: if somebody sets the same price meanwhile, look again. */
async function setPrice(price) {
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
    const { body: record, version } = await call("GET", "/records/ent-harbour-cap");
    const prices = JSON.stringify(record.values.price ?? []);
    console.log(`Version ${version} has the prices ${prices}`);
    try {
      const changed = await call("PATCH", "/records/ent-harbour-cap/values/price", {
        body: { scope: { "dim-market": "seg-dk" }, value: price },
        ifMatch: version,
      });
      console.log(`The price in Denmark is ${price} in version ${changed.version}`);
      return;
    } catch (error) {
      if (error.code !== "PRECONDITION_FAILED") throw error;
    }
  }
  throw new Error("somebody else changes this record all the time");
}

async function tour() {
  const session = await call("POST", "/auth/login", { body: { email, password } });
  token = session.body.token;
  const { body: product } = await call("GET", "/records/ent-coastal-wb");
  console.log(`Read ${product.id}: ${product.values["product-name"][0].value}`);
  await createCap();
  await setPrice(249);
  const { body: transitions } = await call("GET", "/records/ent-harbour-cap/transitions");
  for (const { toStateId, reason, reasons } of transitions) {
    console.log(`To ${toStateId}: ${reason ?? "allowed"}`);
    for (const { attribute, scope } of reasons.flatMap((each) => each.missingIn ?? [])) {
      console.log(`  ${attribute} has no value in ${JSON.stringify(scope)}`);
    }
  }
}

tour().catch((error) => {
  console.error(`The tour ends here: ${error.message}`);
  process.exitCode = 1;
});

"""The five requests of README.md in Python 3.11 or newer, without any package.

    python docs/tour.py [address] [e-mail address] [password]

It logs in, reads a product, creates one, sets its price in one market and asks what keeps it from
the next step of its lifecycle. It can be run again: what is there already is used.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from typing import Any

ADDRESS, EMAIL, PASSWORD = "http://127.0.0.1:8080", "admin@sigma.io", "admin"
ATTEMPTS_MAX = 3
ANSWER_WITHIN_S = 40


class ApiError(Exception):
    """An answer that is not a success: `code` is for programs, `message` for people."""

    def __init__(self, status: int, code: str, message: str, request_id: str | None) -> None:
        super().__init__(f"{status} {code}: {message} (X-Request-Id {request_id})")
        self.status = status
        self.code = code


class Sigma:
    """The API at one address; sends the token once there is one."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self.token: str | None = None

    def log_in(self, email: str, password: str) -> None:
        """A token is valid for 24 hours."""
        session, _ = self.call("POST", "/auth/login", {"email": email, "password": password})
        self.token = session["token"]

    def call(
        self, method: str, path: str, body: Any = None, *, if_match: str | None = None
    ) -> tuple[Any, str | None]:
        """The answer's body and its `ETag`, or `ApiError`.

        429 and 503 mean that nothing was changed: the request is sent again after `Retry-After`.
        Nothing else is repeated. After 504 or a broken connection a change may have been made.
        """
        for attempt in range(1, ATTEMPTS_MAX + 1):
            request = urllib.request.Request(f"{self.address}/api/v1{path}", method=method)
            if self.token is not None:
                request.add_header("Authorization", f"Bearer {self.token}")
            if if_match is not None:
                request.add_header("If-Match", if_match)
            if body is not None:
                request.data = json.dumps(body).encode()
                request.add_header("Content-Type", "application/json")
            try:
                with urllib.request.urlopen(request, timeout=ANSWER_WITHIN_S) as answer:
                    return json.loads(answer.read() or "null"), answer.headers["ETag"]
            except urllib.error.HTTPError as refused:
                with refused:
                    if refused.code in (429, 503) and attempt < ATTEMPTS_MAX:
                        time.sleep(int(refused.headers["Retry-After"]))
                        continue
                    told = json.loads(refused.read())
                request_id = refused.headers["X-Request-Id"]
                raise ApiError(refused.code, told["error"], told["message"], request_id) from None
        raise AssertionError("the last attempt returns or raises")


def create_cap(sigma: Sigma) -> None:
    """An id of our own makes it safe to send this again: the second time it is a conflict."""
    cap = {
        "id": "ent-harbour-cap",
        "schemaId": "schema-apparel",
        "values": {
            "product-name": [{"scope": {"dim-language": "seg-en"}, "value": "Harbour Cap"}],
            "sku": [{"scope": {}, "value": "HC-900"}],
        },
    }
    try:
        sigma.call("POST", "/records", cap)
        print("Created ent-harbour-cap")
    except ApiError as error:
        if error.code != "CONFLICT":
            raise
        print(f"Nothing to create: {error}")


def set_price(sigma: Sigma, price: float) -> None:
    """Of the version that was read: if somebody sets the same price meanwhile, look again."""
    for _ in range(ATTEMPTS_MAX):
        record, version = sigma.call("GET", "/records/ent-harbour-cap")
        print(f"Version {version} has the prices {record['values'].get('price', [])}")
        change = {"scope": {"dim-market": "seg-dk"}, "value": price}
        try:
            _, version = sigma.call(
                "PATCH", "/records/ent-harbour-cap/values/price", change, if_match=version
            )
        except ApiError as error:
            if error.code != "PRECONDITION_FAILED":
                raise
            continue
        print(f"The price in Denmark is {price} in version {version}")
        return
    raise SystemExit("Somebody else changes this record all the time")


def main() -> None:
    """The tour."""
    address, email, password = [*sys.argv[1:], *(ADDRESS, EMAIL, PASSWORD)[len(sys.argv) - 1 :]][:3]
    sigma = Sigma(address)
    sigma.log_in(email, password)
    product, _ = sigma.call("GET", "/records/ent-coastal-wb")
    print(f"Read {product['id']}: {product['values']['product-name'][0]['value']}")
    create_cap(sigma)
    set_price(sigma, 249)
    transitions, _ = sigma.call("GET", "/records/ent-harbour-cap/transitions")
    for transition in transitions:
        print(f"To {transition['toStateId']}: {transition['reason'] or 'allowed'}")
        for reason in transition["reasons"]:
            for missing in reason.get("missingIn") or []:
                print(f"  {missing['attribute']} has no value in {missing['scope']}")


if __name__ == "__main__":
    try:
        main()
    except (ApiError, OSError, ValueError) as error:
        raise SystemExit(f"The tour ends here: {error}") from None

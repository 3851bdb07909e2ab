"""Bugs that are planted in a copy of the code, to see that the experiments find them.

A bug is a handful of replacements in the text of the services. Each has to fit exactly once: code
that has changed asks for its bug to be planted anew, which a unit test notices at once.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.kit.servers import ROOT

PACKAGES: Final = ("gateway", "auth_service", "records_service", "workflow_service", "shared")


class DoesNotFit(Exception):
    """The code is no longer as the bug expects it."""


@dataclass(frozen=True, slots=True)
class Change:
    """In this file, `right` becomes `wrong`."""

    file: str
    right: str
    wrong: str

    def made_in(self, text: str) -> str:
        """The text with the bug; `DoesNotFit` unless `right` is in it exactly once."""
        if text.count(self.right) != 1:
            raise DoesNotFit(f"{self.file} has {text.count(self.right)} times: {self.right}")
        return text.replace(self.right, self.wrong)


@dataclass(frozen=True, slots=True)
class Bug:
    """What somebody could have written."""

    what: str
    changes: tuple[Change, ...]

    def plant(self, tree: Path) -> None:
        """In a copy of the code."""
        for change in self.changes:
            path = tree / change.file
            path.write_text(change.made_in(path.read_text()))


def copied(folder: Path) -> Path:
    """A copy of the services' code, in this new folder."""
    folder.mkdir()
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    return folder


RETRY_WITHOUT_IDEMPOTENCY: Final = Bug(
    "a write that is sent again is made again",
    (
        Change(
            "shared/http/retries.py",
            "idempotency_key(headers) if route.replayable and not route.internal else None,",
            "None,",
        ),
    ),
)
COMMIT_BEFORE_IT_IS_DURABLE: Final = Bug(
    "writes are acknowledged before PostgreSQL has them on disk",
    (
        Change(
            "shared/database/connection.py",
            '"jit": "off",',
            '"jit": "off", "synchronous_commit": "off",',
        ),
    ),
)
DELETE_BEFORE_CONFIRM: Final = Bug(
    "the relay deletes events that the broker has not confirmed",
    (
        Change(
            "shared/messaging/relay.py",
            "confirmed = chain.from_iterable(await publisher.confirmed(*batches))",
            "confirmed = [True] * len(heads)",
        ),
    ),
)
ENVELOPE_WITH_A_CAUSE: Final = Bug(
    "errors have a third field",
    (
        Change(
            "shared/errors.py",
            'return {"error": self.code, "message": self.message}',
            'return {"error": self.code, "message": self.message, "cause": repr(self.__cause__)}',
        ),
    ),
)
NEWEST_FIRST: Final = Bug(
    "the relay publishes the newest events first",
    (
        Change(
            "shared/messaging/outbox_reading.py",
            "ORDER BY id LIMIT $2) AS chosen) AS summed\n     ORDER BY id\n",
            "ORDER BY id LIMIT $2) AS chosen) AS summed\n     ORDER BY id DESC\n",
        ),
        Change(
            "shared/messaging/outbox_reading.py",
            "if not _in_order(rows):",
            "if False and not _in_order(rows):",
        ),
    ),
)
NEW_ID_WHEN_SENT_AGAIN: Final = Bug(
    "an event gets its id when it is sent",
    (
        Change(
            "shared/messaging/relay.py",
            """one = _Event(row["id"], Message(row["type"], row["event_id"], \
row["document"].encode()))""",
            """import secrets
            sent_as = f"evt-{secrets.token_hex(8)}"
            document = row["document"].replace(row["event_id"], sent_as)
            one = _Event(row["id"], Message(row["type"], sent_as, document.encode()))""",
        ),
    ),
)
SILENCE_IS_CONSENT: Final = Bug(
    "an event whose confirm does not come counts as published",
    (
        Change(
            "shared/messaging/publishing.py",
            "        return [batch.confirmed for batch in batches]\n",
            "        return [[True] * len(batch.confirmed) for batch in batches]\n",
        ),
    ),
)
ACKNOWLEDGE_BEFORE_COMMIT: Final = Bug(
    "a consumer acknowledges a message before its effect is committed",
    (
        Change(
            "shared/messaging/consuming.py",
            "        try:\n            async with asyncio.timeout(HANDLER_TIMEOUT_S):",
            "        try:\n            await self._settle(message.ack())\n"
            "            async with asyncio.timeout(HANDLER_TIMEOUT_S):",
        ),
        Change(
            "shared/messaging/consuming.py",
            "            await self._settle(message.ack())\n"
            "            self._at_hand.pop(id(message), None)",
            "            self._at_hand.pop(id(message), None)",
        ),
    ),
)
POISON_IS_SWALLOWED: Final = Bug(
    "a message that is no event is acknowledged like any other",
    (
        Change(
            "shared/messaging/consuming.py",
            "await self._settle(message.reject(requeue=False))",
            "await self._settle(message.ack())",
        ),
    ),
)
ATTEMPT_IS_FORGOTTEN: Final = Bug(
    "a change set is applied again when its first application was not heard of",
    (Change("records_service/proposals/store.py", "return begun is not None", "return True"),),
)
RETRIED_DELIVERIES_HOLD_UP_NOBODY: Final = Bug(
    "later deliveries of a record do not wait for one that is to be tried again",
    (
        Change(
            "workflow_service/dispatch/lane.py",
            "            self._queue.put_off(one, asyncio.get_running_loop().time() + delay_s)",
            "            due = asyncio.get_running_loop().time() + delay_s\n"
            "            self._queue.end(one)\n"
            "            self._queue.add(Waiting(one.id, one.id, one.tries + 1, due))",
        ),
    ),
)
HALF_FILE_IN_PLACE: Final = Bug(
    "the file of an export is written where it is to appear",
    (
        Change(
            "workflow_service/destinations/sftp.py",
            "hidden = posixpath.join(folder, "
            'f"{of_run}{file.attempt}-{secrets.token_hex(8)}.part")',
            "hidden = path",
        ),
        Change(
            "workflow_service/destinations/sftp.py",
            'writing = await client.open(hidden, "xb")',
            'writing = await client.open(hidden, "wb")',
        ),
    ),
)
LOST_CREATES_ARE_FORGOTTEN: Final = Bug(
    "creates whose answer was lost are not looked for at the target",
    (
        Change(
            "workflow_service/sync/running.py",
            "        await find_lost(app[DATABASE], run, mapping, connector)\n",
            "",
        ),
    ),
)
FAR_BEFORE_IT_IS_DONE: Final = Bug(
    "a synchronisation notes how far it is before it has sent its page",
    (
        Change(
            "workflow_service/sync_runs/pushing.py",
            "    ended: BaseException | None = None\n",
            "    async with db.acquire() as conn:\n"
            "        await store.advance(conn, run, *then)\n"
            "    ended: BaseException | None = None\n",
        ),
    ),
)
HOLD_FOR_EVER: Final = Bug(
    "a process that wakes goes on with its work, without a look at its lease",
    (
        Change(
            "workflow_service/holds.py",
            "if time.monotonic() >= self._until_s:",
            "if False and time.monotonic() >= self._until_s:",
        ),
    ),
)
NOT_ANSWERED_IS_REFUSED: Final = Bug(
    "a request that was sent and got no answer is refused as one that never arrived",
    (
        Change(
            "gateway/upstream/pool.py",
            "                raise UpstreamTimeout.unknown() from None\n",
            "                raise ServiceUnavailable from None\n",
        ),
    ),
)
VERSION_BEFORE: Final = Bug(
    "the event of an update has the version that the record had before",
    (
        Change(
            "records_service/writes/effects.py",
            '"version": record.version if variant is None else variant.version,',
            '"version": record.version - (event_type == EventType.ENTITY_UPDATED)'
            " if variant is None else variant.version,",
        ),
    ),
)
BUGS: Final = (
    RETRY_WITHOUT_IDEMPOTENCY,
    COMMIT_BEFORE_IT_IS_DURABLE,
    DELETE_BEFORE_CONFIRM,
    ENVELOPE_WITH_A_CAUSE,
    NEWEST_FIRST,
    NEW_ID_WHEN_SENT_AGAIN,
    SILENCE_IS_CONSENT,
    ACKNOWLEDGE_BEFORE_COMMIT,
    POISON_IS_SWALLOWED,
    ATTEMPT_IS_FORGOTTEN,
    RETRIED_DELIVERIES_HOLD_UP_NOBODY,
    HALF_FILE_IN_PLACE,
    LOST_CREATES_ARE_FORGOTTEN,
    FAR_BEFORE_IT_IS_DONE,
    HOLD_FOR_EVER,
    NOT_ANSWERED_IS_REFUSED,
    VERSION_BEFORE,
)

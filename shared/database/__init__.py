"""PostgreSQL: the pool of a process, migrations, and limits on what a workspace may store.

pool             connections, lent for a statement or a transaction
pool_of_process  the pool as a part of a service: `app[DATABASE]`
addresses        several servers in one address, of which one takes writes
connection       one connection: its settings, its time limits, JSON
planned          SELECTs that are planned with their arguments each time
constraints      what a failed statement means to the caller
request_transactions  one transaction for all that a request does
slots            who may wait for a connection, how many at a time
retries          requests with `Idempotency-Key` or `Prefer: dry-run`
idempotency      the answers that are kept for an `Idempotency-Key`
migrations       `python -m shared.database.migrations <service>`
server_metrics   transactions, waits, large tables and standbys, for Prometheus
schema_version   whether the database has the migrations that the code needs
incarnations     whether the database is where it was, or a restored one
restored         `python -m shared.database.restored <service>`
pieces           rows of which only so many bytes are held at once
listing          complete lists, read and sent in pieces
paging           pages of lists: where they begin, and how large they may be
sizes            how many objects, and how many bytes of them, a workspace may have
"""

from shared.database.connection import (
    Conn,
    Record,
    connect,
    fetch_planned,
    is_read_only,
    speak_json,
    to_json,
)
from shared.database.constraints import is_unavailable, mapping_constraints, violated
from shared.database.pool import Database, Lease
from shared.database.pool_of_process import DATABASE, postgres
from shared.database.request_transactions import REQUEST_TRANSACTION, lent, unbound
from shared.database.slots import ConnectionSlots

__all__ = [
    "DATABASE",
    "REQUEST_TRANSACTION",
    "Conn",
    "ConnectionSlots",
    "Database",
    "Lease",
    "Record",
    "connect",
    "fetch_planned",
    "is_read_only",
    "is_unavailable",
    "lent",
    "mapping_constraints",
    "postgres",
    "speak_json",
    "to_json",
    "unbound",
    "violated",
]

"""Prints the SQL that distributes the tables of a service: `python -m deploy.citus <service>`.

For the coordinator's database of the service, after its migrations, while no process of it runs:

    python -m deploy.citus records_service | psql --single-transaction -v ON_ERROR_STOP=1 "$url"

Exit codes: 0 printed; 2 usage.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from deploy.citus.tables import ON_CITUS, Tables


def statements(tables: Tables) -> Iterator[str]:
    """Drop the triggers, then distribute the tables, each beside the first."""
    for table, triggers in tables.triggers.items():
        for trigger in triggers:
            yield f"DROP TRIGGER IF EXISTS {trigger} ON {table};"
    first, *others = tables.tenant
    yield f"SELECT create_distributed_table('{first}', 'workspace_id');"
    for table in others:
        beside = f"colocate_with => '{first}'"
        yield f"SELECT create_distributed_table('{table}', 'workspace_id', {beside});"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.citus",
        description="Print the SQL that distributes the tables of a service on Citus.",
    )
    parser.add_argument("service", choices=sorted(ON_CITUS))
    for statement in statements(ON_CITUS[parser.parse_args().service]):
        print(statement)


if __name__ == "__main__":
    main()

"""The file schema.sql of a service is what its migrations add up to."""

from __future__ import annotations

import os

import pytest

from deploy.schema import SERVICES, file_of, find_pg_dump, normalised, schema_of
from tests.kit.servers import Servers


@pytest.mark.parametrize("service", SERVICES)
def test_the_schema_of_a_service_is_written_down(servers: Servers, service: str):
    pg_dump = find_pg_dump()
    if pg_dump is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("there is no pg_dump")
    present = schema_of(service, servers.postgres.database(service), pg_dump)
    assert present == file_of(service).read_text(), (
        "the migrations and schema.sql differ: run `make schema`"
    )


def test_nothing_of_a_dump_is_kept_that_depends_on_the_version_of_postgres():
    dumped = """--
-- PostgreSQL database dump
--

\\restrict aUmp1xD

-- Dumped from database version 17.6
SET statement_timeout = 0;
SET transaction_timeout = 0;
SELECT pg_catalog.set_config('search_path', '', false);

SET default_table_access_method = heap;

--
-- Name: things; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.things (
    id text NOT NULL
);


--
-- PostgreSQL database dump complete
--

\\unrestrict aUmp1xD
"""
    assert normalised(dumped) == "CREATE TABLE public.things (\n    id text NOT NULL\n);\n"

"""Generates the description of the API and the page of errors: `make openapi`.

document     the description of this system: the tables of all services, their order, the
introduction
description  OpenAPI 3.1 from route tables; schemas has its components, names its operation ids
examples     an example for every body and answer
error_page   the page of errors
"""

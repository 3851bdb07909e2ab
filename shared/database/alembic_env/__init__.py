"""Alembic's environment, one for all services: see env.py."""

"""Fixtures of the studies: a PostgreSQL server for the session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def postgres() -> Iterator:
    """A running server; the test is skipped where PostgreSQL or psycopg is not installed."""
    pytest.importorskip("psycopg", reason="psycopg is not installed; pip install -e '.[team]'")
    from tests.study.postgres import PostgresServer

    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture
def database(postgres) -> str:
    """The address of a new database."""
    return postgres.new_database()

"""The address of a team's database. Its password is kept apart, so that no message or file contains it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from comp.errors import UserError

EXAMPLE = "postgresql+psycopg://USER@HOST/DATABASE"
# Seconds. Without them a process would wait for hours on a network that is gone.
CONNECT_ARGS = {"connect_timeout": 10, "keepalives_idle": 30, "tcp_user_timeout": 60_000}


@dataclass(frozen=True)
class StorageUrl:
    """An address without its password, and the arguments of a connection, which have it."""

    text: str
    connect_args: dict[str, Any] = field(repr=False)


def parse_storage_url(text: str) -> StorageUrl:
    """Return the address of a PostgreSQL database."""
    try:
        url = make_url(text)
    except ArgumentError:
        raise UserError(f"--storage: this is no address; write {EXAMPLE}") from None
    if url.get_backend_name() != "postgresql" or not url.database:
        raise UserError(
            f"--storage: {url.drivername} is not supported, or the database has no name; write {EXAMPLE}, or leave "
            f"--storage out for one machine"
        )
    url = url.set(drivername="postgresql+psycopg")
    password = {} if url.password is None else {"password": str(url.password)}
    safe = url._replace(password=None).difference_update_query(["password"])
    query = {"password": url.query["password"]} if "password" in url.query else {}
    return StorageUrl(safe.render_as_string(hide_password=False), {**CONNECT_ARGS, **query, **password})

"""A PostgreSQL server for tests, from the system's package, with a user whose password is needed."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from pathlib import Path

import psycopg
import pytest

PASSWORD = "pass-word-7"
MISSING = "PostgreSQL is not installed (Debian: apt install postgresql); the tests of --storage are left out"


def find_binaries() -> Path:
    """Return the folder of initdb and pg_ctl; without one the test is skipped."""
    initdb = shutil.which("initdb")
    folders = [Path(initdb).parent] if initdb else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders or not (folders[-1] / "initdb").is_file():
        pytest.skip(MISSING)
    return folders[-1]


class PostgresServer:
    """A server of one test session on a free port of this machine. It refuses to run as root."""

    def __init__(self) -> None:
        self.binaries = find_binaries()
        self.folder = Path(tempfile.mkdtemp(prefix="comp-postgres-"))
        self.account = pwd.getpwnam("nobody") if os.getuid() == 0 else None
        self.data, password_file = self.folder / "data", self.folder / "password"
        password_file.write_text(PASSWORD)
        for path in (self.folder, password_file):
            if self.account:
                os.chown(path, self.account.pw_uid, self.account.pw_gid)
        self._run("initdb", "-D", str(self.data), "-U", "team", f"--pwfile={password_file}", "--no-sync",
                  "--auth=scram-sha-256", "--no-locale", "--encoding=UTF8")  # fmt: skip
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        options: dict = {"user": self.account.pw_uid, "group": self.account.pw_gid} if self.account else {}
        command = [str(self.binaries / program), *arguments]
        subprocess.run(command, cwd=self.folder, check=True, stdout=subprocess.DEVNULL, **options)

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=100"
        self._run("pg_ctl", "-D", str(self.data), "-w", "-o", options, "-l", str(self.folder / "log"), "start")

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "stop")

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def new_database(self) -> str:
        """Return the address of a new empty database, with the password."""
        name = f"study_{uuid.uuid4().hex[:8]}"
        address = f"team:{PASSWORD}@127.0.0.1:{self.port}"
        with psycopg.connect(f"postgresql://{address}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://{address}/{name}"

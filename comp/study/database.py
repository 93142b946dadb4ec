"""The trials of a study in PostgreSQL, shared by processes on any machines.

A trial is held by a heartbeat: a row that its process refreshes. A process that dies on this machine leaves a free lock
file, and one that dies elsewhere a heartbeat that grows old; then another process continues the trial. Trials are
created and taken under a lock of the server, which it frees when the connection of the process ends.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import platform
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import TypeVar, cast

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError

from comp.errors import UserError, require_extra
from comp.runs import RUNS
from comp.study.outage import PatientStorage, retry
from comp.study.storage_url import StorageUrl, parse_storage_url
from comp.study.store import Claims, TrialHold, lock_trial

T = TypeVar("T")
HEARTBEAT_SECONDS = 5.0
GRACE_SECONDS = 60.0  # a trial whose heartbeat is older is taken by another process
# A connection is tested before its use, and closed at the next heartbeat: a server allows 100, and a process that
# trains needs none. One for each statement would cost 1.4 s for a trial instead of 0.5 s (two busy cores).
POOL = {"pool_pre_ping": True, "pool_size": 1, "max_overflow": 4}

TAKE = text(
    "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (:trial, 'worker', :worker) "
    "ON CONFLICT (trial_id, key) DO UPDATE SET value_json = :worker"
)
BEAT = text(
    "INSERT INTO trial_heartbeats (trial_id, heartbeat) VALUES (:trial, clock_timestamp() AT TIME ZONE 'UTC') "
    "ON CONFLICT (trial_id) DO UPDATE SET heartbeat = excluded.heartbeat"
)
REFRESH = text(
    "UPDATE trial_heartbeats SET heartbeat = clock_timestamp() AT TIME ZONE 'UTC' WHERE trial_id = :trial AND EXISTS "
    "(SELECT 1 FROM trial_user_attributes WHERE trial_id = :trial AND key = 'worker' AND value_json = :worker)"
)
END = text(
    "DELETE FROM trial_heartbeats WHERE trial_id = :trial AND EXISTS "
    "(SELECT 1 FROM trial_user_attributes WHERE trial_id = :trial AND key = 'worker' AND value_json = :worker)"
)
AGE = text(
    "SELECT extract(epoch FROM clock_timestamp() AT TIME ZONE 'UTC' - heartbeat) FROM trial_heartbeats "
    "WHERE trial_id = :trial"
)


class DatabaseStore:
    """A study in a database. Its runs are below runs/ of each machine, whether the machines share that disk or not."""

    def __init__(self, study: str, url: str):
        parsed = parse_storage_url(url)
        self.address: str | None = parsed.text
        self.kind, self.directory = "trial", RUNS / study
        self.engine = make_engine(parsed)
        tables = _open_tables(parsed, read_only=False)
        self.engines = (self.engine, tables.engine)
        self.storage: BaseStorage = wait_for_database(tables)
        self.lock_key = lock_key(f"comp study {study}")
        directory = f"{platform.node()} {self.directory.resolve()}"
        self.machine_directory = hashlib.sha256(directory.encode()).hexdigest()[:16]

    def claim(self, action: Callable[[Claims], T]) -> T:
        return retry(self._claim_once, action)

    def named(self, kind: str) -> DatabaseStore:
        store = copy.copy(self)
        store.kind = kind
        return store

    def _claim_once(self, action: Callable[[Claims], T]) -> T:
        connection = self._lock()
        claims = _DatabaseClaims(self, connection)
        try:
            result = action(claims)
            connection.commit()  # fails if the server was restarted meanwhile, and with it the lock was gone
            return result
        except BaseException:
            claims.release()
            raise
        finally:
            with suppress(SQLAlchemyError):
                connection.close()

    def _lock(self) -> Connection:
        connection = self.engine.connect()
        try:
            # The lock of a process that is stopped in this moment, e.g. by a laptop that sleeps, is freed too.
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '60s'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": self.lock_key})
        except BaseException:
            connection.close()
            raise
        return connection


class _DatabaseClaims:
    """The right to take trials, while the transaction of `connection` has the server's lock."""

    def __init__(self, store: DatabaseStore, connection: Connection):
        self.store, self.connection = store, connection
        self.holds: list[TrialHold] = []

    def hold(self, trial: Trial | FrozenTrial) -> TrialHold | None:
        locks = lock_trial(self.store.directory / f".{self.store.kind}_{trial.number:04d}.lock")
        if locks is None:
            return None
        try:
            if self._lives_elsewhere(trial):
                locks.close()
                return None
            worker = json.dumps(
                {
                    "host": platform.node(),
                    "pid": os.getpid(),
                    "directory": self.store.machine_directory,
                    "id": uuid.uuid4().hex,
                }
            )
            row = {"trial": trial._trial_id, "worker": worker}
            self.connection.execute(TAKE, row)
            self.connection.execute(BEAT, row)
            heartbeat = Heartbeat(self.store.engines, row)
            locks.enter_context(heartbeat)
        except BaseException:
            locks.close()
            raise
        self.holds.append(TrialHold(locks, heartbeat.lost.is_set))
        return self.holds[-1]

    def _lives_elsewhere(self, trial: Trial | FrozenTrial) -> bool:
        """Return whether a process of another machine works on a trial; the lock file answers for this one."""
        worker = trial.user_attrs.get("worker")
        if not isinstance(worker, dict) or worker.get("directory") == self.store.machine_directory:
            return False
        age = self.connection.execute(AGE, {"trial": trial._trial_id}).scalar()
        return age is not None and float(age) < GRACE_SECONDS

    def release(self) -> None:
        for hold in self.holds:
            hold.locks.close()


class Heartbeat:
    """A thread that refreshes the heartbeat of a trial, and notices when another process has taken the trial."""

    def __init__(self, engines: Sequence[Engine], row: dict[str, object]):
        self.engine, self.engines, self.row = engines[0], engines, row
        self.lost, self._stopped = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and leave the trial free for every process at once, if it has not ended."""
        self._stopped.set()
        self._thread.join()
        with suppress(SQLAlchemyError), self.engine.begin() as connection:
            connection.execute(END, self.row)

    def _run(self) -> None:
        while not self._stopped.wait(HEARTBEAT_SECONDS):
            with suppress(SQLAlchemyError), self.engine.begin() as connection:  # the server is away: the next one
                if not connection.execute(REFRESH, self.row).rowcount:
                    self.lost.set()
                    return
            for engine in self.engines:
                engine.dispose()  # closes connections that are not in use


def lock_key(name: str) -> int:
    """Return the number of a lock of the server."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)


def make_engine(url: StorageUrl) -> Engine:
    """Return an engine that keeps a connection for a while."""
    with require_extra("team"):
        return create_engine(url.text, connect_args=url.connect_args, **POOL)


def open_database(url: StorageUrl, read_only: bool = False) -> BaseStorage:
    """Open Optuna's tables, and create them if they do not exist; a wrong address or password is one line."""
    return wait_for_database(_open_tables(url, read_only))


def _open_tables(url: StorageUrl, read_only: bool) -> optuna.storages.RDBStorage:
    with require_extra("team"), ExitStack() as stack:
        try:
            if not read_only:  # tables that two processes create in one moment are an error of the server
                connection = stack.enter_context(make_engine(url).begin())
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": lock_key("comp tables")})
            return optuna.storages.RDBStorage(
                url.text, engine_kwargs={"connect_args": url.connect_args, **POOL}, skip_table_creation=read_only
            )
        except (SQLAlchemyError, RuntimeError, optuna.exceptions.StorageInternalError) as error:
            if read_only and isinstance(error.__cause__ or error, ProgrammingError):
                raise UserError(f"{url.text} has no studies yet; run python -m comp tune with it") from None
            raise UserError(f"{url.text} cannot be used: {_reason(error)}; check address, user and password") from None


def wait_for_database(backend: optuna.storages.RDBStorage) -> BaseStorage:
    """Return Optuna's storage, whose calls wait while the database is away."""
    return cast(BaseStorage, PatientStorage(optuna.storages.get_storage(backend)))


def _reason(error: BaseException) -> str:
    """Return the first line of the database's own message."""
    cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) and error.__cause__ else error
    return str(getattr(cause, "orig", None) or cause).strip().splitlines()[0][:200]

"""A database that is away for a while, e.g. restarted: wait for it instead of losing a trial."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from sqlalchemy.exc import DataError, IntegrityError, NotSupportedError, ProgrammingError, SQLAlchemyError

from comp.errors import UserError

T = TypeVar("T")
PATIENCE_SECONDS = 600.0
RETRY_SECONDS = 1.0
WRONG_STATEMENTS = (DataError, IntegrityError, NotSupportedError, ProgrammingError)


def retry(action: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Return what a call returns, repeated while the database is away; a UserError after ten minutes."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    is_repeated = False
    while True:
        try:
            return action(*arguments, **options)
        except UpdateFinishedTrialError:
            if is_repeated:  # the database had done it before it went away
                return True  # type: ignore[return-value]  # the only such call returns a boolean
            raise
        except (StorageInternalError, SQLAlchemyError) as error:
            if not is_outage(error):
                raise
            if time.monotonic() > deadline:
                raise UserError(
                    f"the database has not answered for {PATIENCE_SECONDS / 60:.0f} minutes; start it, and run the "
                    f"same command again to resume"
                ) from None
        if not is_repeated:
            print("warning: the database does not answer; waiting for it", file=sys.stderr, flush=True)
        is_repeated = True
        time.sleep(RETRY_SECONDS)


def is_outage(error: BaseException | None) -> bool:
    """Return whether a connection broke or could not be made, rather than a statement being wrong.

    A connection that breaks inside a transaction raises one of several errors, by the moment.
    """
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    return isinstance(cause, SQLAlchemyError) and not isinstance(cause, WRONG_STATEMENTS)


class PatientStorage:
    """A storage of Optuna whose calls wait while the database is away."""

    def __init__(self, backend: BaseStorage):
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._backend, name)
        return functools.partial(retry, attribute) if callable(attribute) else attribute

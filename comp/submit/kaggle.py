"""Kaggle through its official client: list and send submissions, read the quota. Every failure is a one-line UserError.

The client signs in while it is imported, prints, exits where it finds no key, and waits for an answer without a time
limit. So it is imported at the first call, in a thread that is abandoned after a time limit, with its output captured.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from comp.errors import UserError
from comp.files import file_exists, read_json
from comp.submit.kaggle_errors import KEY_HELP, KaggleTemporaryError, to_user_error

REQUEST_TIMEOUT = 60.0  # seconds to wait for a response
MIN_BYTES_PER_SECOND = 50_000  # an upload slower than that is taken for broken
PAGE_SIZE = 50  # the service has been seen to send 50 rows whatever page size is requested

T = TypeVar("T")


@dataclass(frozen=True)
class KaggleSubmission:
    """A submission in Kaggle's list."""

    ref: int
    file: str
    message: str
    date: datetime  # UTC
    status: str  # pending | complete | error
    reason: str  # why scoring failed, if the status is error
    public: float | None
    private: float | None


@dataclass(frozen=True)
class Quota:
    """The number of files that the team may still send before midnight UTC."""

    remaining: int
    is_total_exhausted: bool  # the competition's total is used up, so waiting does not help


def list_submissions(competition: str) -> Iterator[KaggleSubmission]:
    """Yield all submissions of the team, newest first. A page is requested when the one before is used up."""
    seen: set[int] = set()
    page = 1
    while True:
        submissions = _call_client(competition, partial(_fetch_page, competition, page))
        new = [submission for submission in submissions if submission.ref not in seen]
        if not new:  # the list has ended, or the service has no pages and returns the first one again
            return
        yield from new
        seen |= {submission.ref for submission in new}
        page += 1


def fetch_quota(competition: str) -> Quota | None:
    """Return the quota that Kaggle reports, or None if it reports none.

    An older service reports none. Neither does a team that has sent nothing yet: all its numbers are 0.
    """
    try:
        limits = _call_client(competition, lambda client: client.competition_get_submission_limits(competition))
    except UserError:
        return None
    if not (limits.num_total or limits.num_allowed_now):
        return None
    return Quota(limits.num_allowed_now, limits.limited_by_total)


def upload(competition: str, path: Path, message: str) -> int:
    """Send a file and return the number that Kaggle gives it."""
    timeout = REQUEST_TIMEOUT + path.stat().st_size / MIN_BYTES_PER_SECOND
    return _call_client(competition, partial(_submit, competition, path, message), timeout)


def _submit(competition: str, path: Path, message: str, client: Any) -> int:
    """Upload a file with the signed-in client, and return its number; an incomplete upload is a temporary error."""
    answer = client.competition_submit(str(path), message, competition, quiet=True)
    if answer.message == client.COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE:
        raise KaggleTemporaryError(
            "the upload ended before Kaggle received the whole file, and nothing is submitted; "
            "run the same command again"
        )
    if not answer.ref:
        raise KaggleTemporaryError(
            "Kaggle gave the file no number, so it may not have counted; run the same command again"
        )
    return answer.ref


def _fetch_page(competition: str, page: int, client: Any) -> list[KaggleSubmission]:
    rows = client.competition_submissions(competition, page_number=page, page_size=PAGE_SIZE)
    return [_to_submission(row) for row in rows or []]


def _to_submission(row: Any) -> KaggleSubmission:
    return KaggleSubmission(
        ref=row.ref,
        file=row.file_name or "",
        message=row.description or "",
        date=row.date.replace(tzinfo=UTC),
        status=row.status.name.lower(),
        reason=row.error_description or "",
        public=_score(row.public_score),
        private=_score(row.private_score),
    )


def _score(text: str | None) -> float | None:
    return float(text) if text else None


def _call_client(competition: str, request: Callable[[Any], T], timeout: float | None = None) -> T:
    """Call `request(client)` in a thread, and return its result; a failure or a timeout is a UserError."""
    timeout = timeout or REQUEST_TIMEOUT
    answers: list[T] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            answers.append(request(_client()))
        except BaseException as error:  # SystemExit too: the client exits if it finds no key
            errors.append(error)

    thread = threading.Thread(target=call, daemon=True)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        thread.start()
        thread.join(timeout)
    if answers:
        return answers[0]
    if not errors:
        raise KaggleTemporaryError(f"Kaggle has not answered within {timeout:.3g} s; run the same command again later")
    if isinstance(errors[0], UserError):
        raise errors[0]
    raise to_user_error(errors[0], competition) from errors[0]


def _check_key_file() -> None:
    """Raise a UserError for a kaggle.json that is no map of texts: the client ignores one, or waits for a pipe."""
    path = Path(os.environ.get("KAGGLE_CONFIG_DIR") or Path.home() / ".kaggle") / "kaggle.json"
    if not file_exists(path):
        return
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise UserError(f'{path} must be {{"username": "...", "key": "..."}}; remove it, or {KEY_HELP}')


@cache
def _client() -> Any:
    _check_key_file()
    try:
        import kaggle
    except ModuleNotFoundError as error:
        raise UserError(f"the package {error.name} is missing; install it with: pip install -e '.[kaggle]'") from None
    kaggle.api.authenticate()  # the import has done so, but hides what went wrong; this call raises it
    return kaggle.api

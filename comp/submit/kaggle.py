"""Kaggle through its official client, the only file that names it: whatever goes wrong there is one line here.

The client signs in while it is imported, prints, exits where it finds no key, and waits for an answer without end. So
it is imported when something is asked of it, in a thread that is given up in time, with its own words kept back.
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from comp.cli import format_error
from comp.errors import UserError

REQUEST_TIMEOUT = 60  # seconds for an answer
MIN_BYTES_PER_SECOND = 50_000  # bytes a second: a line slower than that is taken for broken
PAGE_SIZE = 50  # the service has been seen to send so many, whatever it is asked for
WEBSITE = "https://www.kaggle.com"
KEY_HELP = (
    f"make an API token at {WEBSITE}/settings/api and put it into the environment as KAGGLE_API_TOKEN or "
    f"into ~/.kaggle/access_token"
)


class KaggleTemporaryError(UserError):
    """Trouble that may pass by itself: the same question, asked later, may be answered."""


@dataclass(frozen=True)
class KaggleSubmission:
    """A file as the service lists it."""

    ref: int
    file: str
    message: str
    date: datetime  # UTC
    status: str  # pending | complete | error
    reason: str  # why it is an error
    public: float | None
    private: float | None


@dataclass(frozen=True)
class Quota:
    """How many more files the team may send before midnight UTC; `for_good`: it has used up the competition's total."""

    files: int
    for_good: bool


def list_submissions(competition: str) -> Iterator[KaggleSubmission]:
    """All files of the team, newest first; a page is asked for when the one before is used up."""
    seen: set[int] = set()
    page = 1
    while True:
        rows = _call_client(
            competition,
            lambda client, page=page: [
                _submission(row)
                for row in client.competition_submissions(competition, page_number=page, page_size=PAGE_SIZE) or []
            ],
        )
        new = [row for row in rows if row.ref not in seen]
        if not new:  # nothing more, or a service that knows no pages and answers the first one again
            return
        yield from new
        seen |= {row.ref for row in new}
        page += 1


def fetch_quota(competition: str) -> Quota | None:
    """None where it does not tell: an older service, or a team that has sent nothing yet (all its numbers are 0)."""
    try:
        told = _call_client(competition, lambda client: client.competition_get_submission_limits(competition))
    except UserError:
        return None
    return Quota(told.num_allowed_now, told.limited_by_total) if told.num_total or told.num_allowed_now else None


def upload(competition: str, path: Path, message: str) -> int:
    """Send a file; the number the service gives it."""

    def send(client):
        answer = client.competition_submit(str(path), message, competition, quiet=True)
        if answer.message == client.COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE:
            raise KaggleTemporaryError(
                "the upload broke off before Kaggle had the whole file, and nothing is submitted; give the same "
                "command again"
            )
        if not answer.ref:
            raise KaggleTemporaryError(
                "Kaggle gave the file no number, so it may not have counted; give the same command again"
            )
        return answer.ref

    return _call_client(competition, send, REQUEST_TIMEOUT + path.stat().st_size / MIN_BYTES_PER_SECOND)


def _submission(row: Any) -> KaggleSubmission:
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


def _call_client(competition: str, question: Callable[[Any], Any], seconds: float | None = None) -> Any:
    """What the client answers within so many seconds, or why it does not."""
    result: dict[str, Any] = {}

    def ask():
        try:
            result["answer"] = question(_client())
        except BaseException as problem:  # the client's exit too
            result["problem"] = problem

    thread = threading.Thread(target=ask, daemon=True)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        thread.start()
        thread.join(seconds or REQUEST_TIMEOUT)
    if not result:
        raise KaggleTemporaryError(
            f"Kaggle has not answered within {seconds or REQUEST_TIMEOUT:.3g} s; give the same command again later"
        )
    problem = result.get("problem")
    if isinstance(problem, UserError):
        raise problem
    if problem is not None:
        raise _to_user_error(problem, competition) from problem
    return result["answer"]


@cache
def _client() -> Any:
    try:
        import kaggle
    except ModuleNotFoundError as problem:
        raise UserError(f"the package {problem.name} is missing; pip install -e '.[kaggle]' installs it") from None
    kaggle.api.authenticate()  # the import has done so, silent about what went wrong; this tells
    return kaggle.api


def _to_user_error(problem: BaseException, competition: str) -> UserError:
    import requests  # the client has it

    if isinstance(problem, SystemExit):
        return UserError(_missing_key_message())
    if isinstance(problem, requests.HTTPError) and problem.response is not None:
        return _http_error(problem.response, competition)
    if isinstance(problem, requests.Timeout):
        return KaggleTemporaryError("Kaggle does not answer in time; give the same command again later")
    if isinstance(problem, requests.ConnectionError):
        return KaggleTemporaryError(
            f"Kaggle cannot be reached ({_root_cause(problem)}); check the network and give the same command again"
        )
    if isinstance(problem, OSError) and not isinstance(problem, requests.RequestException):
        return UserError(format_error(problem))  # the client makes itself a folder for its settings
    words = " ".join(str(problem).split())[:120]
    return UserError(
        f"Kaggle's answer cannot be understood ({type(problem).__name__}: {words}); where no login page "
        f"or proxy stands between, a newer client may help: pip install -U kaggle"
    )


def _http_error(response: Any, competition: str) -> UserError:
    """A line for an HTTP status, with the service's own words where it has any."""
    said = f"{response.status_code}: {_message(response)}"
    page = f"{WEBSITE}/competitions/{competition}"
    if response.status_code == 401:
        return UserError(f"Kaggle does not accept the key ({said}); {KEY_HELP}")
    if response.status_code == 403:  # the service answers so to a name that does not exist, too
        return UserError(
            f"Kaggle does not allow it ({said}); accept the rules at {page}/rules, and see whether "
            f"{competition!r} is right: submit.kaggle is the last part of the competition's address"
        )
    if response.status_code == 404:
        return UserError(
            f"Kaggle knows no competition {competition!r} ({said}); submit.kaggle is the last part of its "
            f"address, {WEBSITE}/competitions/NAME"
        )
    if response.status_code == 429:
        wait = response.headers.get("Retry-After", "")
        return KaggleTemporaryError(
            f"Kaggle has been asked too often ({said}); give the same command again in "
            f"{f'{wait} s' if wait.isdigit() else 'some minutes'}"
        )
    if response.status_code >= 500:
        return KaggleTemporaryError(f"Kaggle has trouble of its own ({said}); give the same command again later")
    return UserError(f"Kaggle refuses ({said}); where that says too little, {page}/submissions may say more")


def _message(response: Any) -> str:
    try:
        words = str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        words = response.reason or ""
    return " ".join(words.split())[:200] or "without a reason"


def _root_cause(problem: BaseException) -> str:
    """The words of the error that all the others were made of."""
    while problem.__context__ is not None:
        problem = problem.__context__
    return getattr(problem, "strerror", None) or str(problem)


def _missing_key_message() -> str:
    """The client found none, or only one that the service does not know."""
    from kagglesdk import get_access_token_from_env

    _, place = get_access_token_from_env()
    if place:
        return f"Kaggle does not know the API token in {place}, which may have expired; {KEY_HELP}"
    return f"there is no key for Kaggle; {KEY_HELP}"

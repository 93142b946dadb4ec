"""Turn every failure of Kaggle's client into one line that says what to do."""

from __future__ import annotations

from typing import Any

from comp.cli import format_error
from comp.errors import UserError

WEBSITE = "https://www.kaggle.com"
KEY_HELP = (
    f"create an API token at {WEBSITE}/settings/api and put it into the environment as KAGGLE_API_TOKEN or "
    f"into ~/.kaggle/access_token"
)


class KaggleTemporaryError(UserError):
    """A failure that may pass by itself: the same request may succeed later."""


def to_user_error(error: BaseException, competition: str) -> UserError:
    """Return the UserError for an exception of the client."""
    import requests  # installed with the client

    if isinstance(error, SystemExit):
        return UserError(_missing_key_message())
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return _http_error(error.response, competition)
    if isinstance(error, requests.Timeout):
        return KaggleTemporaryError("Kaggle does not answer in time; run the same command again later")
    if isinstance(error, requests.ConnectionError):
        return KaggleTemporaryError(
            f"Kaggle cannot be reached ({_root_cause(error)}); check the network and run the same command again"
        )
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        return UserError(format_error(error))  # the client creates a directory for its settings
    message = " ".join(str(error).split())[:120]
    return UserError(
        f"Kaggle's answer cannot be parsed ({type(error).__name__}: {message}); a login page or a proxy may have "
        f"sent it; if not, update the client: pip install -U kaggle"
    )


def _http_error(response: Any, competition: str) -> UserError:
    """Return the error for an HTTP status, with the service's message if it has one."""
    status = f"{response.status_code}: {_message(response)}"
    page = f"{WEBSITE}/competitions/{competition}"
    if response.status_code == 401:
        return UserError(f"Kaggle does not accept the key ({status}); {KEY_HELP}")
    if response.status_code == 403:  # also for a competition that does not exist
        return UserError(
            f"Kaggle does not allow it ({status}); accept the rules at {page}/rules, and check that "
            f"{competition!r} is right: submit.kaggle is the last part of the competition's URL"
        )
    if response.status_code == 404:
        return UserError(
            f"Kaggle has no competition {competition!r} ({status}); set submit.kaggle to the last part of its "
            f"URL, {WEBSITE}/competitions/NAME"
        )
    if response.status_code == 429:
        wait = response.headers.get("Retry-After", "")
        return KaggleTemporaryError(
            f"Kaggle received too many requests ({status}); run the same command again in "
            f"{f'{wait} s' if wait.isdigit() else 'some minutes'}"
        )
    if response.status_code >= 500:
        return KaggleTemporaryError(f"Kaggle has an internal error ({status}); run the same command again later")
    return UserError(f"Kaggle refuses the request ({status}); {page}/submissions may say more")


def _message(response: Any) -> str:
    try:
        message = str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        message = response.reason or ""
    return " ".join(message.split())[:200] or "no reason given"


def _root_cause(error: BaseException) -> str:
    """Return the message of the innermost error."""
    while error.__context__ is not None:
        error = error.__context__
    return getattr(error, "strerror", None) or str(error)


def _missing_key_message() -> str:
    """Return why the client exited: it found no key, or only a token that the service does not accept."""
    from kagglesdk import get_access_token_from_env

    _, source = get_access_token_from_env()
    if source:
        return f"Kaggle does not accept the API token in {source}, which may have expired; {KEY_HELP}"
    return f"no key for Kaggle was found; {KEY_HELP}"

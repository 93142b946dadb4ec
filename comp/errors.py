"""The one error that users read: a single line that says what is wrong and what to do."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator


class UserError(Exception):
    """Bad input: one line that says what is wrong and what to do.

    Programs print it as `error: ...` and exit with status 2. A notebook shows the same line, without a traceback.

    >>> import comp
    >>> try:
    ...     comp.load("dema")
    ... except comp.UserError as error:
    ...     print(error)
    there is no run dema; did you mean demo?
    """

    def _render_traceback_(self) -> list[str]:  # called by IPython
        return [f"error: {self}"]


@contextlib.contextmanager
def require_extra(name: str) -> Iterator[None]:
    """Turn an ImportError in the block into a UserError with the command that installs this extra."""
    try:
        yield
    except ImportError as error:
        raise UserError(f"{error}; pip install -e '.[{name}]'") from None


def shorten(text: object, length: int = 100) -> str:
    """Return a value as text for an error, which is one line however long the value is."""
    shown = str(text)
    return shown if len(shown) <= length else f"{shown[:length]}..."


def shorten_list(texts: Iterable[object], count: int = 3, length: int = 100, separator: str = ", ") -> str:
    """Return the first texts, each in at most `length` characters, with an ellipsis if there are more than `count`."""
    texts = list(texts)
    return separator.join([shorten(text, length) for text in texts[:count]] + ["..."] * (len(texts) > count))


def did_you_mean(name: str, available: Iterable[str]) -> str:
    """Return a hint to append to an error: the closest available name, else a list of up to 30, else nothing."""
    names = sorted(available)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; available: {', '.join(names)}" if 0 < len(names) <= 30 else ""

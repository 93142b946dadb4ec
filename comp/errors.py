"""The one error a user is meant to read: a single line that says what is wrong and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input. Programs print it as `error: ...` and exit with 2, without a traceback."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint that names the right word: `; did you mean x?`, or what there is to choose from, or nothing."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; there is: {', '.join(known)}" if 0 < len(known) <= 30 else ""

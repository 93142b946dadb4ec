"""The command that a call stands for, in the files that it writes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping


def options_to_words(options: Mapping[str, object]) -> list[str]:
    """Return `{"--tta": "d4", "--name": None}` as `["--tta", "d4"]`."""
    return [str(word) for option, value in options.items() if value is not None for word in (option, value)]


@contextlib.contextmanager
def recorded_as(words: Iterable[object]) -> Iterator[None]:
    """Let the files that are written meanwhile record this command instead of that of the notebook's process."""
    before, sys.argv = sys.argv, [str(word) for word in words]
    try:
        yield
    finally:
        sys.argv = before

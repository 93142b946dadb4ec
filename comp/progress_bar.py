"""Progress bars: on a terminal, as text in a notebook, and nowhere else, such as in a log file."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, NoReturn, TypeVar, overload

from tqdm import tqdm as Bar

T = TypeVar("T")


@overload
def progress_bar(
    iterable: Iterable[T], desc: str | None = None, total: int | None = None, **options: Any
) -> Bar[T]: ...


@overload
def progress_bar(
    iterable: None = None, desc: str | None = None, total: int | None = None, **options: Any
) -> Bar[NoReturn]: ...


def progress_bar(
    iterable: Iterable | None = None, desc: str | None = None, total: int | None = None, **options: Any
) -> Bar:
    """Return a bar of tqdm, with its options, that disappears when it ends; with `disable` it never appears.

    In a notebook it is written to stdout, like the lines that are printed meanwhile: streams have areas of their own
    there, and a bar cannot go back to the area before. A bar inside another takes its line.
    """
    disable = options.pop("disable", False)
    if is_notebook():
        stream_options = {"file": sys.stdout, "position": 0, "disable": disable}
    else:
        stream_options = {"disable": disable or None}  # None: unless stderr is a terminal
    return Bar(iterable, desc, total, leave=False, **stream_options, **options)


def is_notebook() -> bool:
    """Return whether stdout is shown in a notebook: in Jupyter, Kaggle, Colab or an editor, which all use ipykernel."""
    return type(sys.stdout).__module__.startswith("ipykernel.")

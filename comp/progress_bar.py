"""Progress bars: on a terminal, as text in a notebook, and nowhere else, such as in a log file."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, NoReturn, TypeVar, overload

from tqdm import tqdm as Bar

T = TypeVar("T")
NOTEBOOK_COLUMNS = 100


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

    In a notebook each bar has a place of its own in the output of the cell, where its text is replaced. A saved
    notebook keeps what is there at the end; of a stream it would keep every text that the bar ever had.
    """
    disable = options.pop("disable", False)
    if is_notebook():
        options |= {"file": _NotebookLine(), "position": 0, "ncols": NOTEBOOK_COLUMNS, "dynamic_ncols": False}
    else:
        disable = disable or None  # None: unless stderr is a terminal
    return Bar(iterable, desc, total, leave=False, disable=disable, **options)


def is_notebook() -> bool:
    """Return whether stdout is shown in a notebook: in Jupyter, Kaggle, Colab or an editor, which all use ipykernel."""
    return type(sys.stdout).__module__.startswith("ipykernel.")


class _NotebookLine:
    """A stream that shows the last line that was written to it, in one place of a cell's output."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self._handle: Any = None
        self._text = ""

    def write(self, text: str) -> None:
        """Show a text instead of the one before. Empty texts and ends of lines only clear it."""
        text = text.strip()
        if text == self._text:
            return
        from IPython.display import display  # every notebook has it

        self._text, content = text, {"text/plain": text}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)

    def flush(self) -> None:
        pass

"""The terminal of a command that trains several folds or trials at a time, each in a process or on a machine."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from comp.progress_bar import progress_bar


class ParallelConsole:
    """One bar over all parts of a command, and above it the lines that they print. `kind` is `fold` or `trial`."""

    def __init__(self, total: int, kind: str):
        self.total, self.kind = total, kind
        self.bar = progress_bar(
            desc=f"0/{total} {kind}s",
            total=total,
            dynamic_ncols=True,
            smoothing=0,
            miniters=0,  # otherwise the bar would wait, after a fold has ended, for as much progress again
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
        )

    def __enter__(self) -> ParallelConsole:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def print_line(self, stream: str, line: str) -> None:
        """Print a line to "stdout" or "stderr", above the bar."""
        self.bar.write(line, file=getattr(sys, stream))
        getattr(sys, stream).flush()

    def print_stopping(self) -> None:
        """Print what the first Ctrl-C does."""
        self.print_line("stderr", f"every {self.kind} saves and stops; Ctrl-C again stops at once")

    def update_bar(self, running: Mapping[Any, float], ended: int) -> None:
        """Show how many have ended, and which are running, with the fraction of each that is done."""
        self.bar.set_description_str(f"{ended}/{self.total} {self.kind}s", refresh=False)
        fractions = ", ".join(f"{self.kind} {name} {fraction:.0%}" for name, fraction in running.items())
        self.bar.set_postfix_str(fractions, refresh=False)
        done = min(self.total, ended + sum(running.values()))
        self.bar.update(max(0.0, done - self.bar.n))


@contextlib.contextmanager
def count_interrupts() -> Iterator[list[int]]:
    """Collect Ctrl-C signals in a list instead of raising: an exception could cut a message in two. A process that
    ignores them leaves them to its parent."""
    interrupts: list[int] = []
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        yield interrupts
        return
    handler = signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, handler)

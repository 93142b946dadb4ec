"""Signals that end a program unwind it: temporary files are removed and child processes ended on the way out."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

ENDING_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

RETRY_SECONDS = 0.02


class SignalReceivedError(KeyboardInterrupt):
    """One of ENDING_SIGNALS arrived. It passes through every place that lets Ctrl-C pass."""


def is_importing(frame: FrameType | None) -> bool:
    """Return whether this code is called by an import."""
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


@contextlib.contextmanager
def unwind_on_signals() -> Iterator[list[int]]:
    """Raise SignalReceivedError when a signal asks this process to end, and yield the list of those received.

    The list matters because a library may replace the exception by its own: a signal during the import of numpy
    becomes an ImportError. A signal during an import waits for its end: torch's C++ aborts when an exception passes
    through it. A signal that is ignored stays ignored, as under nohup. Under torchrun SIGTERM ends a process at once,
    because one that waits for the others could not unwind.
    """
    received: list[int] = []
    owner = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a forked worker: it has nothing to remove
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if is_importing(frame) and can_wait:
            waiting.append(number)
            signal.setitimer(signal.ITIMER_REAL, RETRY_SECONDS)
            return
        received.append(number)
        raise SignalReceivedError

    def handle_later(_: int, frame: FrameType | None) -> None:
        if waiting:
            handle(waiting.pop(), frame)

    handlers = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    replaced = [
        number
        for number, handler in handlers.items()
        if handler is signal.default_int_handler
        or (handler == signal.SIG_DFL and os.environ.get("WORLD_SIZE", "1") == "1")
    ]
    waiting: list[int] = []
    can_wait = hasattr(signal, "setitimer") and signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    if can_wait:
        handlers[signal.SIGALRM] = signal.SIG_DFL
    for number in replaced:
        signal.signal(number, handle)
    if can_wait:
        signal.signal(signal.SIGALRM, handle_later)
        replaced.append(signal.SIGALRM)
    try:
        with _send_again_where_ignored(received):
            yield received
    finally:
        if can_wait:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number in replaced:
            signal.signal(number, handlers[number])


@contextlib.contextmanager
def _send_again_where_ignored(received: list[int]) -> Iterator[None]:
    """Send the last received signal again a moment after Python ignored its exception, as in some callbacks and in
    `__del__`."""
    process, previous_hook = os.getpid(), sys.unraisablehook
    timers: list[threading.Timer] = []

    def retry(unraisable: sys.UnraisableHookArgs) -> None:
        if not issubclass(unraisable.exc_type, SignalReceivedError):
            previous_hook(unraisable)
            return
        timers.append(threading.Timer(RETRY_SECONDS, os.kill, (process, received[-1])))
        timers[-1].daemon = True
        timers[-1].start()

    sys.unraisablehook = retry
    try:
        yield
    finally:
        sys.unraisablehook = previous_hook
        for timer in timers:
            timer.cancel()

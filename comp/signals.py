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
    becomes an ImportError. Python ignores exceptions in some callbacks and in `__del__`; there the signal is sent
    again a moment later. During an import it waits for the end of the import: torch's C++ aborts when an exception
    passes through it. A signal that is ignored stays ignored, as under nohup. Under torchrun SIGTERM ends a
    process at once, because one that waits for the others could not unwind.
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
    previous_hook, retries = sys.unraisablehook, []

    def retry(unraisable: sys.UnraisableHookArgs) -> None:
        if not issubclass(unraisable.exc_type, SignalReceivedError):
            previous_hook(unraisable)
            return
        retries.append(threading.Timer(RETRY_SECONDS, os.kill, (owner, received[-1])))
        retries[-1].daemon = True
        retries[-1].start()

    sys.unraisablehook = retry
    for number in replaced:
        signal.signal(number, handle)
    if can_wait:
        signal.signal(signal.SIGALRM, handle_later)
        replaced.append(signal.SIGALRM)
    try:
        yield received
    finally:
        sys.unraisablehook = previous_hook
        for timer in retries:
            timer.cancel()
        if can_wait:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number in replaced:
            signal.signal(number, handlers[number])

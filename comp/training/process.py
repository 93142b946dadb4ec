"""Start a training in a new process that ends with its parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.context import SpawnProcess
from typing import Any

KILLED_MESSAGE = "its process was killed, perhaps because memory ran out"
WATCH_SECONDS = 0.2


def spawn_process(target: Callable[..., None], *arguments: Any) -> SpawnProcess:
    """Start `target(*arguments)` in a new process. Ctrl-C reaches every process of a terminal; this one ignores it and
    leaves the answer to its parent, and ends when the parent does.

    The process is spawned: a fork of a process that has used torch's threads or a GPU cannot train.
    """
    process = multiprocessing.get_context("spawn").Process(target=_call, args=(_ParentWatch(), target, *arguments))
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the new process inherits it
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, handler)
    return process


class _ParentWatch:
    """It begins where it is unpickled: in the new process, before the other arguments are, whose modules import torch.

    Otherwise a killed parent would leave a process for seconds, or a training that holds the fold's lock.
    """

    def __reduce__(self) -> tuple[Callable[[int], None], tuple[int]]:
        return _watch_parent, (os.getpid(),)


def _watch_parent(parent: int) -> None:
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)


def _call(_: None, target: Callable[..., None], *arguments: Any) -> None:
    target(*arguments)

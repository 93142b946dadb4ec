"""Start a training in a new process that ends with its parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.context import SpawnProcess
from typing import Any

KILLED_MESSAGE = "its process was killed, perhaps because memory ran out"


def spawn_process(target: Callable[..., None], *arguments: Any) -> SpawnProcess:
    """Start `target(*arguments)` in a new process. Ctrl-C reaches every process of a terminal; this one ignores it and
    leaves the answer to its parent, and ends when the parent does.

    The process is spawned: a fork of a process that has used torch's threads or a GPU cannot train.
    """
    process = multiprocessing.get_context("spawn").Process(target=_run_until_parent_exits, args=(target, *arguments))
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the new process inherits it
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, handler)
    return process


def _run_until_parent_exits(target: Callable[..., None], *arguments: Any) -> None:
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    target(*arguments)


def _exit_with_parent() -> None:
    """End this process with its parent: otherwise a killed parent would leave a training that holds the fold's lock."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

"""One training in a process of its own: its peak memory is its own, and if it is killed no other row is lost."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from multiprocessing.connection import Connection

from comp.cli import format_error
from comp.schema import Config
from comp.training import train as training
from comp.training.fold_process import KILLED_MESSAGE, spawn_process


def train(config: Config, device: str) -> str | None:
    """Train fold 0 from wherever it was left; what went wrong, or None."""
    answers, tell = multiprocessing.Pipe(duplex=False)
    process = spawn_process(_run, config, device, tell)
    tell.close()
    try:
        return answers.recv()
    except EOFError:
        return KILLED_MESSAGE
    except KeyboardInterrupt:
        process.terminate()
        raise
    finally:
        process.join()


def _run(config: Config, device: str, tell: Connection) -> None:
    tell.send(train_in_process(config, device))


def train_in_process(config: Config, device: str) -> str | None:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # train.log has the lines of epochs
        try:
            training.run_experiment(config, fold="0", device=device)
        except Exception as problem:  # out of memory, say: the other rows go on
            return format_error(problem)
    return None

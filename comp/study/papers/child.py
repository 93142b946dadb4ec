"""One training in a process of its own: its peak memory is its own, and if it is killed no other row is lost."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection

from comp import experiment
from comp.errors import UserError
from comp.schema import Config


def train(config: Config, device: str) -> str | None:
    """Train fold 0 from wherever it was left; what went wrong, or None."""
    spawn = multiprocessing.get_context("spawn")
    answers, tell = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_run, args=(config, device, tell))
    # Ctrl-C reaches the whole terminal; the child leaves it to the parent, who ends the child
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.start()
    signal.signal(signal.SIGINT, before)
    tell.close()
    try:
        return answers.recv()
    except EOFError:
        return "its process was killed, perhaps for want of memory"
    except KeyboardInterrupt:
        process.terminate()
        raise
    finally:
        process.join()


def _run(config: Config, device: str, tell: Connection) -> None:
    threading.Thread(target=_die_with_parent, daemon=True).start()
    tell.send(train_here(config, device))


def _die_with_parent() -> None:
    """A killed parent must not leave a training behind that holds the fold's lock."""
    multiprocessing.parent_process().join()
    os._exit(1)


def train_here(config: Config, device: str) -> str | None:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # train.log has the lines of epochs
        try:
            experiment.run_experiment(config, fold="0", device=device)
        except (UserError, OSError) as problem:
            return " ".join(str(problem).split())
        except Exception as problem:  # out of memory, say: the other rows go on
            return f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"
    return None

"""Run a program in a fork of this process: importing torch takes seconds, a fork takes milliseconds.

A kill of the fork is as real as a kill of a program that was started in a shell; only the imports come before it.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import os
import pkgutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import comp
from comp.cli import run_main

TIMEOUT = 120  # seconds; a program that takes longer hangs
GRACE = 60  # seconds that child processes have to end after their parent: one that imports torch notices only then
PIPE_BYTES = 1 << 20


@dataclass(frozen=True)
class Outcome:
    """The end of a program: its status, output and time, and the processes that are left."""

    status: int | None  # negative: the signal that ended it; None: it did not end in time
    out: str
    err: str
    seconds: float
    survivors: int  # processes that outlived it


def import_everything() -> None:
    """Import what the programs import, before the first fork."""
    for module in pkgutil.walk_packages(comp.__path__, "comp."):
        if module.name != "comp.__main__":
            importlib.import_module(module.name)
    for name in ("albumentations", "matplotlib.pyplot", "optuna", "scipy.optimize", "sklearn.linear_model", "timm"):
        importlib.import_module(name)


def execute(
    command: Sequence[str],
    workspace: Path,
    *,
    prepare: Callable[[], None] = lambda: None,
    kill: tuple[float, int] | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT,
) -> Outcome:
    """Run a command in `workspace`; `prepare` is called in its process first.

    `kill`: seconds after which the process receives a signal, and the signal. Temporary files of the program go to the
    directory `<workspace>.tmp`.
    """
    with _pipe() as out, _pipe() as err:
        start = time.monotonic()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # until the program would have begun
        process = os.fork()
        if not process:
            _run(command, workspace, prepare, environment or {}, out[1], err[1])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        status = _wait(process, timeout, kill)
        seconds = time.monotonic() - start
        survivors = _end_survivors(process)
        return Outcome(status, _read(out[0]), _read(err[0]), seconds, survivors)


def _run(
    command: Sequence[str],
    workspace: Path,
    prepare: Callable[[], None],
    environment: Mapping[str, str],
    out: int,
    err: int,
) -> None:
    """Become the program."""
    status = 1
    try:
        os.setsid()
        scratch = Path(f"{workspace}.tmp")
        scratch.mkdir(exist_ok=True)
        os.chdir(workspace)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
        os.environ.update(environment, TMPDIR=str(scratch))
        tempfile.tempdir = None
        signal.signal(signal.SIGINT, signal.default_int_handler)
        program, *sys.argv[1:] = command
        sys.argv[0] = program
        prepare()
        name = program.removesuffix(".py") if program != "comp" else "comp.__main__"
        main = importlib.import_module(name).main

        def begin() -> int | None:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            return main()

        status = run_main(begin)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(status)


def _wait(process: int, timeout: float, kill: tuple[float, int] | None) -> int | None:
    """Return the exit status; send the signal when its time has come."""
    deadline, send_at = time.monotonic() + timeout, time.monotonic() + kill[0] if kill else float("inf")
    while time.monotonic() < deadline:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if kill and time.monotonic() >= send_at:
            send_at = float("inf")
            os.kill(process, kill[1])
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def _end_survivors(session: int) -> int:
    """Return how many processes of the session do not end within the grace; end them."""
    deadline = time.monotonic() + GRACE
    while (alive := list(_processes_of(session))) and time.monotonic() < deadline:
        time.sleep(0.02)
    for process in alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return len(alive)


def _processes_of(session: int) -> Iterator[int]:
    """Yield the living processes of a session."""
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (directory / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session and fields[0] != "Z":
                    yield int(directory.name)


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    """Open a pipe that holds all output of a program."""
    ends = os.pipe()
    fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    os.set_blocking(ends[0], False)
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def _read(end: int) -> str:
    with contextlib.suppress(BlockingIOError):
        return os.read(end, PIPE_BYTES).decode(errors="replace")
    return ""

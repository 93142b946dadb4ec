"""Run the programs of a checkout with the arguments a user types, many of them in one process.

    cd WORKSPACE && python replay.py CHECKOUT commands.txt

One process, because importing torch takes seconds. A line of commands.txt is what follows `python` or `python -m`;
`> FILE` stores its stdout. `interrupt N ...` raises KeyboardInterrupt right after the N-th time that a resume.pt is
saved. A training saves twice a second at most, and an epoch here takes milliseconds, so the clock is replaced there by
one that advances a second per call.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import runpy
import shlex
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from unittest import mock


def call(checkout: Path, *arguments: str) -> tuple[int, str]:
    """Run `train.py`, `infer.py` or `comp` in the current directory; return its exit status and stdout."""
    stdout = io.StringIO()
    with mock.patch.object(sys, "argv", list(arguments)), contextlib.redirect_stdout(stdout), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*found in sys.modules", category=RuntimeWarning)  # imported before
        try:
            if arguments[0].endswith(".py"):
                runpy.run_path(str(checkout / arguments[0]), run_name="__main__")
            else:
                runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
    return status, stdout.getvalue()


@contextlib.contextmanager
def interrupted(saves: int) -> Iterator[None]:
    """Raise KeyboardInterrupt after this many saves of a resume.pt, under a clock that advances a second per call."""
    seconds, saved, replace = itertools.count(1.0), itertools.count(1), os.replace

    def replace_and_interrupt(source, target, **keywords) -> None:
        replace(source, target, **keywords)
        if os.path.basename(target) == "resume.pt" and next(saved) == saves:
            raise KeyboardInterrupt

    with (
        mock.patch.object(time, "perf_counter", lambda: next(seconds)),
        mock.patch.object(os, "replace", replace_and_interrupt),
    ):
        yield


def replay(checkout: Path, line: str) -> tuple[int, str]:
    """Run one line of commands.txt; return its exit status and stdout."""
    command, _, target = line.partition(" > ")
    arguments = shlex.split(command)
    with contextlib.ExitStack() as stack:
        if arguments[0] == "interrupt":
            stack.enter_context(interrupted(int(arguments[1])))
            arguments = arguments[2:]
        status, stdout = call(checkout, *arguments)
    if target:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).write_text(stdout, encoding="utf-8")
    return status, stdout


if __name__ == "__main__":
    root = Path(sys.argv[1]).resolve()
    sys.path.insert(0, str(root))
    for command in Path(sys.argv[2]).read_text(encoding="utf-8").splitlines():
        exit_status, printed = replay(root, command)
        print(f"$ {command}    # exit status {exit_status}\n{printed}", flush=True)

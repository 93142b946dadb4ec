"""Run the programs of a checkout as a user would, many of them in one process: starting torch takes seconds.

    cd WORKSPACE && python replay.py CHECKOUT commands.txt

A line of commands.txt is what stands after `python` or `python -m`. `> FILE` keeps what it prints. `interrupt N ...` is
Ctrl-C right after the N-th save of a resume.pt; the clock that decides when a training may save is a fake one there, a
second later at every look, so that the few milliseconds of an epoch have several saves.
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


def call(checkout: Path, *words: str) -> tuple[int, str]:
    """`train.py`, `infer.py` or `comp` with its arguments, in the current directory: exit status and stdout."""
    text = io.StringIO()
    with mock.patch.object(sys, "argv", list(words)), contextlib.redirect_stdout(text), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*found in sys.modules", category=RuntimeWarning)  # imported before
        try:
            if words[0].endswith(".py"):
                runpy.run_path(str(checkout / words[0]), run_name="__main__")
            else:
                runpy.run_module(words[0], run_name="__main__", alter_sys=True)
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
    return status, text.getvalue()


@contextlib.contextmanager
def interrupted(saves: int) -> Iterator[None]:
    """KeyboardInterrupt after so many saves of a resume.pt."""
    seconds, done, replace = itertools.count(1.0), itertools.count(1), os.replace

    def replace_and_interrupt(source, target, **keywords) -> None:
        replace(source, target, **keywords)
        if os.path.basename(target) == "resume.pt" and next(done) == saves:
            raise KeyboardInterrupt

    with (
        mock.patch.object(time, "perf_counter", lambda: next(seconds)),
        mock.patch.object(os, "replace", replace_and_interrupt),
    ):
        yield


def replay(checkout: Path, line: str) -> tuple[int, str]:
    """One line of commands.txt."""
    words, _, target = line.partition(" > ")
    words = shlex.split(words)
    with contextlib.ExitStack() as stack:
        if words[0] == "interrupt":
            stack.enter_context(interrupted(int(words[1])))
            words = words[2:]
        status, text = call(checkout, *words)
    if target:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).write_text(text, encoding="utf-8")
    return status, text


if __name__ == "__main__":
    root = Path(sys.argv[1]).resolve()
    sys.path.insert(0, str(root))
    for command in Path(sys.argv[2]).read_text(encoding="utf-8").splitlines():
        begun = time.process_time()
        code, printed = replay(root, command)
        print(f"$ {command}    # exit status {code}, {time.process_time() - begun:.1f} s\n{printed}", flush=True)

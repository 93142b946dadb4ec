"""Read the commands of the documentation, and run or parse one in this process.

Every line of a ```bash block is a command. An HTML comment right above the block says how it is tested:

    (none)                  run on the small demo by default, and as written on the demo by `-m slow`
    <!-- slow -->           run as written only
    <!-- small: reason -->  run on the small demo only
    <!-- not run: reason -->  only parsed: options, config, keys and make targets must exist

`NAME` stands for the reader's dataset; the tests put `own` in its place.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import runpy
import shlex
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md"))]
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>slow|(?:small|not run): [^\n]{4,}) -->\n)?"
    r"^```bash\n(?P<commands>.*?)^```$",
    re.M | re.S,
)


@dataclass(frozen=True)
class Block:
    """The commands of one fenced block, and how they are tested: `run`, `slow`, `small` or `not run`."""

    location: str  # page:line
    mark: str
    commands: tuple[str, ...]


def read_blocks(page: str) -> list[Block]:
    """Return the ```bash blocks of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = [
        Block(
            f"{page}:{text.count(chr(10), 0, match.start()) + 1}",
            (match["mark"] or "run").partition(":")[0],
            tuple(_read_commands(match["commands"])),
        )
        for match in BLOCK.finditer(text)
    ]
    assert len(re.findall(r"-->\n```bash\n", text)) == sum(block.mark != "run" for block in blocks), (
        f"{page}: a comment above a bash block is not one of those in tests/docs_pages.py"
    )
    return blocks


def _read_commands(lines: str) -> list[str]:
    stripped = [line.strip().replace("NAME", "own") for line in lines.splitlines()]
    return [line for line in stripped if line and line[0] != "#"]


def run_command(command: str) -> tuple[int, str]:
    """Run a `python ...` command in this process, because importing torch takes seconds. Return status and output."""
    words = shlex.split(command, comments=True)
    assert words[0] == "python", f"only python commands run without a mark: {command}"
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        status = _run_program(words[1:])
    return status, output.getvalue()


def _run_program(words: list[str]) -> int:
    module = words[0] == "-m"
    with mock.patch.object(sys, "argv", words[1:] if module else words):
        try:
            if module:
                with warnings.catch_warnings():  # of a module that a test has imported: it is run again all the same
                    warnings.simplefilter("ignore", RuntimeWarning)
                    runpy.run_module(words[1], run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(str(ROOT / words[0]), run_name="__main__")
        except SystemExit as end:
            return end.code or 0
    return 0


class Parsed(BaseException):
    """The arguments of a command that was parsed and not run."""


def parse_command(command: str) -> argparse.Namespace | None:
    """Parse a command without running it. Return the arguments of the kit's own programs, None for others."""
    words = shlex.split(command, comments=True)
    if words[0] == "torchrun":
        words = ["python", *words[words.index("train.py") :]]
    if words[0] != "python" or words[1:3] == ["-m", "pytest"] or words[1].startswith(("docs/", "tests/")):
        return None
    with contextlib.ExitStack() as stack:
        for name in ("parse_args", "parse_intermixed_args"):
            stack.enter_context(mock.patch.object(argparse.ArgumentParser, name, _stop_after(name)))
        try:
            status, output = run_command(shlex.join(words))
        except Parsed as parsed:
            return parsed.args[0]
    raise AssertionError(f"{command} exits with {status} before its arguments are read: {output}")


def _stop_after(name: str):
    original = getattr(argparse.ArgumentParser, name)

    def parse_only(parser: argparse.ArgumentParser, *arguments):
        raise Parsed(original(parser, *arguments))

    return parse_only

"""Replace each file that a program reads by something that it cannot read."""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults import events
from tests.faults.bench import Bench, Result, ending_fault, error_fault, leftover_fault, result
from tests.faults.execute import execute
from tests.faults.programs import Program

PATIENCE = 30  # seconds beyond ten times the undisturbed run; a program that takes longer hangs

OBSTACLES: dict[str, Callable[[Path, bytes], object]] = {
    "missing": lambda path, _: None,
    "empty": lambda path, _: path.touch(),
    "half": lambda path, content: path.write_bytes(content[: len(content) // 2]),
    "FIFO": lambda path, _: os.mkfifo(path),
    "directory": lambda path, _: path.mkdir(),
    "unreadable": lambda path, content: path.write_bytes(content),
    "random bytes": lambda path, _: path.write_bytes(random.Random(0).randbytes(1000)),
    "[]": lambda path, _: path.write_text("[]"),
    "null": lambda path, _: path.write_text("null"),
}
TEXT_ONLY = ("[]", "null")
TEXT_SUFFIXES = (".json", ".yaml", ".csv", "")

# (program, file, obstacle) as patterns -> why another result is correct, where the program reports no error.
LEGITIMATE = {
    ("data .*|folds", r"input/.*\.jpg", "missing|directory|FIFO"): "a dataset without that image is another dataset",
    ("export .*", r"input/.*\.jpg", "missing|directory|FIFO"): "the parity is measured on the images that there are",
    (".*", r"configs/.*\.yaml", "half|empty|null"): "a shorter config is another config",
    ("submit push", r"submissions/.*\.csv", ".*"): "a file of another content is refused by the report on it",
    ("submit log", r"submissions/.*\.csv", ".*"): "a score is recorded for the content that the file has now",
}


def obstacle_cases(bench: Bench, program: Program, count: int, seed: int) -> Iterator[Result]:
    """Yield the results of up to `count` obstacles, one file of each kind that the program reads."""
    rng, reference = random.Random(f"{program.name} {seed}"), bench.reference(program)
    files: dict[str, list[str]] = {}
    for path in reference.reads:
        files.setdefault(re.sub(r"[0-9]+|train/[a-z]+", "#", path), []).append(path)
    cases = [
        (rng.choice(paths), obstacle)
        for paths in files.values()
        for obstacle in OBSTACLES
        if obstacle not in TEXT_ONLY or Path(paths[0]).suffix in TEXT_SUFFIXES
    ]
    for path, obstacle in rng.sample(cases, min(count, len(cases))):
        yield _obstruct(bench, program, path, obstacle, try_again=rng.random() < 1 / 3)


def _obstruct(bench: Bench, program: Program, name: str, obstacle: str, try_again: bool) -> Result:
    """Run a program with an obstacle, and if it refuses, perhaps again without."""
    with bench.workspace(program) as (workspace, environment):
        path = workspace / name
        content, times = path.read_bytes(), path.stat()
        path.unlink()
        OBSTACLES[obstacle](path, content)
        outcome = execute(
            program.command,
            workspace,
            environment=environment,
            prepare=lambda: events.forbid(workspace, name) if obstacle == "unreadable" else None,
            timeout=PATIENCE + 10 * bench.reference(program).outcome.seconds,
        )

        def wrong_end() -> tuple[str, str] | None:
            if outcome.status == 2:
                return error_fault(outcome) or leftover_fault(workspace)
            if program.is_report and outcome.status in (0, 1):
                return leftover_fault(workspace)
            if outcome.status in (0, 1) and _is_legitimate(program, name, obstacle):
                return leftover_fault(workspace)
            return bench.judge(program, outcome, workspace, ignored=name)

        def not_recovered() -> tuple[str, str] | None:
            if outcome.status != 2 or not try_again:
                return None
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            path.write_bytes(content)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
            return bench.judge(program, execute(program.command, workspace, environment=environment), workspace)

        return result(
            program, "obstacles", f"{name} {obstacle}", lambda: ending_fault(outcome), wrong_end, not_recovered
        )


def _is_legitimate(program: Program, name: str, obstacle: str) -> bool:
    return any(
        re.fullmatch(programs, program.name) and re.fullmatch(files, name) and re.fullmatch(kinds, obstacle)
        for programs, files, kinds in LEGITIMATE
    )

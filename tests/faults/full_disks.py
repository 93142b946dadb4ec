"""Fill the disk under programs, give it space again, and compare the files."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import subprocess
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

from tests.faults import events
from tests.faults.bench import Bench, Result, ending_fault, error_fault, leftover_fault, result
from tests.faults.execute import execute
from tests.faults.programs import Program


def full_disk_cases(bench: Bench, program: Program, count: int, seed: int) -> Iterator[Result]:
    """Yield the results of `count` disks that are full in one of three ways.

    A limit on the size of a file ends a write in its middle. A refusal meets each new file from a random one on. A
    small disk of its own is the real thing; it needs root.
    """
    rng, reference = random.Random(f"{program.name} {seed}"), bench.reference(program)
    for index in range(count):
        if not reference.changes or not reference.new_sizes:
            return
        if index % 3 == 0:
            limit = max(0, rng.choice(reference.new_sizes) - rng.choice([1, 1, 100, 5000]))
            yield _fill(bench, program, f"no file above {limit} bytes", lambda _, limit=limit: _limit_files(limit))
        elif index % 3 == 1 or not can_mount():
            change = rng.randrange(reference.changes)
            fill = lambda workspace, change=change: events.fill_disk_at(workspace, change)  # noqa: E731
            yield _fill(bench, program, f"full from change {change}", fill)
        else:
            free = rng.randrange(sum(reference.new_sizes)) // 4096 * 4096
            yield _fill(bench, program, f"{free} bytes free", None, free)


def _limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _fill(
    bench: Bench, program: Program, case: str, prepare: Callable[[Path], None] | None, free: int | None = None
) -> Result:
    with (
        bench.empty_workspace() as workspace,
        _disk(workspace, free) as give_space,
        bench.fill(program, workspace) as environment,
    ):
        if free is not None:
            give_space(free)
        return _run_twice(bench, program, case, workspace, environment, prepare, give_space)


def _run_twice(
    bench: Bench,
    program: Program,
    case: str,
    workspace: Path,
    environment: Mapping[str, str],
    prepare: Callable[[Path], None] | None,
    give_space: Callable[[int], None],
) -> Result:
    """Run a program on the full disk, and again with space."""
    first = execute(
        program.command, workspace, environment=environment, prepare=lambda: prepare(workspace) if prepare else None
    )

    def wrong_end() -> tuple[str, str] | None:
        if first.status == program.status:
            return bench.judge(program, first, workspace)
        return error_fault(first) or leftover_fault(workspace)

    def not_recovered() -> tuple[str, str] | None:
        give_space(1 << 30)
        return bench.judge(program, execute(program.command, workspace, environment=environment), workspace)

    return result(program, "full disks", case, lambda: ending_fault(first), wrong_end, not_recovered)


@contextlib.contextmanager
def _disk(workspace: Path, free: int | None) -> Iterator[Callable[[int], None]]:
    """Mount a disk of its own on the workspace unless `free` is None; yield a function that sets its free bytes."""
    if free is None:
        yield lambda _: None
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", workspace], check=True)

    def give_space(size: int) -> None:
        state = os.statvfs(workspace)
        used = (state.f_blocks - state.f_bfree) * state.f_frsize
        subprocess.run(["mount", "-o", f"remount,size={used + max(size, 4096)}", workspace], check=True)

    try:
        yield give_space
    finally:
        subprocess.run(["umount", workspace], check=True)


@cache
def can_mount() -> bool:
    """Return whether this process may mount a disk."""
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0

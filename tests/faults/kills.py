"""Kill programs at random moments and at random changes of files, run them again, and compare the files."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator

from tests.faults import events
from tests.faults.bench import Bench, Result, ending_fault, leftover_fault, result
from tests.faults.execute import execute
from tests.faults.programs import Program

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def kill_cases(bench: Bench, program: Program, count: int, seed: int) -> Iterator[Result]:
    """Yield the results of `count` kills; every second one comes right before a file is changed."""
    rng, reference = random.Random(f"{program.name} {seed}"), bench.reference(program)
    for index in range(count):
        number = SIGNALS[index // 2 % 3] if count > 3 else SIGNALS[index % 3]
        if index % 2:
            yield _kill(bench, program, number, change=rng.randrange(reference.changes) if reference.changes else 0)
        else:
            yield _kill(bench, program, number, seconds=rng.uniform(0, reference.outcome.seconds))


def _kill(bench: Bench, program: Program, number: int, *, seconds: float | None = None, change: int = 0) -> Result:
    name = signal.Signals(number).name
    case = f"{name} at change {change}" if seconds is None else f"{name} after {seconds:.3f} s"
    with bench.workspace(program) as (workspace, environment):
        killed = execute(
            program.command,
            workspace,
            environment=environment,
            kill=None if seconds is None else (seconds, number),
            prepare=lambda: events.kill_at(workspace, change, number) if seconds is None else None,
        )
        again = None

        def wrong_end() -> tuple[str, str] | None:
            expected = 130 if number == signal.SIGINT else -number
            if killed.status not in (expected, program.status):
                return "traceback", f"status {killed.status}: {killed.err[-300:]}"
            return leftover_fault(workspace) if number != signal.SIGKILL else None

        def not_recovered() -> tuple[str, str] | None:
            nonlocal again
            again = execute(program.command, workspace, environment=environment)
            return bench.judge(program, again, workspace)

        return result(program, "kills", case, lambda: ending_fault(killed), wrong_end, not_recovered)

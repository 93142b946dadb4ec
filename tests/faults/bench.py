"""The parts that the three kinds of cases share: fresh workspaces, undisturbed runs of each program, and verdicts."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import compare, events
from tests.faults.execute import Outcome, execute
from tests.faults.programs import Program

FAULTS = ("lost", "traceback", "leftover", "hang")


@dataclass(frozen=True)
class Result:
    """A case and what went wrong in it: one of FAULTS and its detail, or nothing."""

    program: str
    kind: str  # kills, obstacles or full disks
    case: str
    fault: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Reference:
    """A program's undisturbed run."""

    outcome: Outcome
    contents: dict[str, str]
    reads: list[str]  # files of the workspace that it reads, each once
    changes: int  # how often it opens a file to write, renames, removes or makes one
    new_sizes: list[int]  # bytes of each file that it makes or changes


@dataclass
class Bench:
    """A directory with the stages of the work, in which cases are run one after the other."""

    root: Path
    references: dict[str, Reference] = field(default_factory=dict)

    @contextlib.contextmanager
    def workspace(self, program: Program) -> Iterator[tuple[Path, Mapping[str, str]]]:
        """Copy the stage that a program needs; yield the copy, and the environment with a Kaggle of its own."""
        with self.empty_workspace() as workspace, self.fill(program, workspace) as environment:
            yield workspace, environment

    @contextlib.contextmanager
    def empty_workspace(self) -> Iterator[Path]:
        workspace = self.root / "case"
        try:
            workspace.mkdir()
            yield workspace
        finally:
            shutil.rmtree(workspace)
            for suffix in ("tmp", "home"):
                shutil.rmtree(f"{workspace}.{suffix}", ignore_errors=True)

    @contextlib.contextmanager
    def fill(self, program: Program, workspace: Path) -> Iterator[Mapping[str, str]]:
        shutil.copytree(self.root / program.stage, workspace, dirs_exist_ok=True)
        with _kaggle(workspace) if program.uses_kaggle else contextlib.nullcontext({}) as environment:
            yield environment

    def reference(self, program: Program) -> Reference:
        """Run a program undisturbed, once."""
        if program.name not in self.references:
            with self.workspace(program) as (workspace, environment):
                log, before = self.root / "events", dict(_sizes(workspace))
                outcome = execute(
                    program.command, workspace, prepare=lambda: events.record(workspace, log), environment=environment
                )
                assert outcome.status == program.status, f"{program.name}: {outcome}"
                accesses = [line.split("\t") for line in log.read_text().splitlines()]
                reads = dict.fromkeys(path for kind, path in accesses if kind == "read")
                self.references[program.name] = Reference(
                    outcome,
                    compare.contents(workspace),
                    [path for path in reads if (self.root / program.stage / path).is_file()],
                    sum(kind != "read" for kind, _ in accesses),
                    sorted({size for path, size in _sizes(workspace) if before.get(path) != size}),
                )
        return self.references[program.name]

    def judge(self, program: Program, outcome: Outcome, workspace: Path, ignored: str = "") -> tuple[str, str] | None:
        """Return the fault of a program that ran to its end, or None: it must end as if nothing had happened."""
        if fault := ending_fault(outcome):
            return fault
        if outcome.status != program.status:
            return "lost", f"status {outcome.status}: {outcome.err[-300:]}"
        changed = compare.differences(compare.contents(workspace), self.reference(program).contents)
        if changed := [change for change in changed if change.rpartition(" ")[0].removesuffix(" is") != ignored]:
            return "lost", ", ".join(changed)
        return leftover_fault(workspace)


def _sizes(workspace: Path) -> Iterator[tuple[Path, int]]:
    return ((path, path.stat().st_size) for path in workspace.rglob("*") if path.is_file())


def ending_fault(outcome: Outcome) -> tuple[str, str] | None:
    """Return the fault in how a program ended, whatever its status."""
    if outcome.status is None:
        return "hang", f"no end after {outcome.seconds:.0f} s"
    if "Traceback" in outcome.err:
        return "traceback", outcome.err[-400:]
    if outcome.survivors:
        return "leftover", f"{outcome.survivors} processes"
    return None


def error_fault(outcome: Outcome) -> tuple[str, str] | None:
    """Return the fault of a program that had to report an error: one line and status 2."""
    lines = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    if outcome.status != 2 or len(lines) != 1:
        return "traceback", f"status {outcome.status}, {len(lines)} error lines: {outcome.err[-300:]}"
    return None


def leftover_fault(workspace: Path) -> tuple[str, str] | None:
    """Return the fault of temporary files."""
    names = compare.leftovers(workspace)
    return ("leftover", ", ".join(names)) if names else None


def result(program: Program, kind: str, case: str, *faults: Callable[[], tuple[str, str] | None]) -> Result:
    """Return the result of a case with the first fault that is found."""
    for find in faults:
        if fault := find():
            return Result(program.name, kind, case, *fault)
    return Result(program.name, kind, case)


@contextlib.contextmanager
def _kaggle(workspace: Path) -> Iterator[Mapping[str, str]]:
    """Start a stand-in for Kaggle in a process of its own; kaggle.json in the workspace lists what it received."""
    reading_end, writing_end = os.pipe()
    process = os.fork()
    if not process:
        _serve(workspace, writing_end)
    os.close(writing_end)
    try:
        with open(reading_end, encoding="utf-8") as pipe:
            yield json.loads(pipe.readline())
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def _serve(workspace: Path, writing_end: int) -> None:
    from tests.kaggle_service import Service

    class Recorded(Service):
        def _CreateSubmission(self, body: dict) -> dict:
            answer = super()._CreateSubmission(body)
            # not the blob of an upload that was killed before its submission: nobody sees it
            received = [hashlib.sha256(self.blobs[row["blob"]]).hexdigest() for row in self.submissions]
            (workspace / "kaggle.json").write_text(json.dumps(received))
            return answer

    service = Recorded()
    service.polls = 0
    os.write(writing_end, json.dumps(service.environment(Path(f"{workspace}.home"))).encode() + b"\n")
    while True:
        time.sleep(60)

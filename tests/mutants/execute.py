"""Run mutants: fork a process that has imported torch, pandas and scikit-learn, but nothing of the kit, for each.

The fork runs the tests of the mutant's package in its own copy of the repository, those of the mutant's module first,
and stops at the first failure: 1 to 10 s instead of a minute.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutants.operators import Mutant

PRELOADED = [
    *("torch", "timm", "pandas", "sklearn.model_selection", "sklearn.linear_model", "sklearn.metrics", "scipy.sparse"),
    *("scipy.optimize", "scipy.stats", "optuna", "albumentations", "cv2", "PIL.Image", "matplotlib.figure", "pydantic"),
    *("hypothesis", "xxhash", "tqdm", "filelock"),
]
STATE = Path("runs/mutants")
ADDRESS_SPACE = 2**35  # bytes: a mutant that allocates without end fails instead of filling the memory


@dataclass(frozen=True)
class Selection:
    """The tests for the mutants of some modules, and the CPU seconds that they take without a mutant."""

    tests: tuple[str, ...]
    seconds: float


def preload() -> None:
    """Import what takes seconds, so that no fork does."""
    for name in PRELOADED:
        importlib.import_module(name)


def run_mutants(chosen: list[Mutant], tests_of: dict[Path, list[str]], folder: Path, jobs: int) -> dict[str, str]:
    """Return the outcome of each mutant by its name: noticed, survived or timeout."""
    tests_hash = _hash_of(*sorted(Path("tests").rglob("*.py")))
    known = _read_results()
    outcomes: dict[str, str] = {}
    waiting = []
    for mutant in chosen:
        outcome, under_tests = known.get(_key(mutant), ("", ""))
        if outcome and (outcome != "survived" or under_tests == tests_hash):
            outcomes[mutant.name] = outcome
        else:
            waiting.append(mutant)
    print(f"{len(chosen)} mutants, {len(outcomes)} known from an earlier run", flush=True)
    if not waiting:
        return outcomes
    trees = [folder / "0"]
    _copy_repository(trees[0])
    selections = _run_without_mutants(trees[0], {tuple(tests_of[mutant.path]) for mutant in waiting})
    shutil.rmtree(trees[0] / "tmp", ignore_errors=True)  # files of the tests, among them pipes
    for index in range(1, jobs):
        trees.append(folder / str(index))
        shutil.copytree(trees[0], trees[index], symlinks=True)
    running: dict[int, tuple[Mutant, Path, float]] = {}
    try:
        while waiting or running:
            while waiting and trees:
                mutant, tree = waiting.pop(0), trees.pop()
                selection = selections[tuple(tests_of[mutant.path])]
                deadline = time.monotonic() + 60 + 20 * selection.seconds
                running[_start(mutant, tree, selection)] = mutant, tree, deadline
            time.sleep(0.05)
            for pid, (mutant, tree, deadline) in list(running.items()):
                ended, status = os.waitpid(pid, os.WNOHANG)
                late = time.monotonic() > deadline
                if not ended and not late:
                    continue
                if not ended:
                    os.killpg(pid, signal.SIGKILL)
                    _, status = os.waitpid(pid, 0)
                del running[pid]
                code = os.waitstatus_to_exitcode(status)
                is_late = code in (-signal.SIGKILL, -signal.SIGXCPU)
                outcome = "survived" if code == 0 else "timeout" if is_late else "noticed"
                (tree / mutant.path).write_text(mutant.module.code, "utf-8")
                trees.append(tree)
                outcomes[mutant.name] = outcome
                with (STATE / "results.jsonl").open("a") as file:
                    file.write(json.dumps([_key(mutant), outcome, tests_hash, mutant.name]) + "\n")
                if outcome == "survived":
                    print(f"survived: {mutant.describe()}", flush=True)
    finally:
        for pid in running:
            os.killpg(pid, signal.SIGKILL)
    return outcomes


def _run_without_mutants(tree: Path, test_sets: set[tuple[str, ...]]) -> dict[tuple[str, ...], Selection]:
    """Run every selection of tests once: it must pass, and its time is the measure of a mutant's."""
    selections = {}
    for tests in sorted(test_sets):
        start = resource.getrusage(resource.RUSAGE_CHILDREN)
        pid = _start(None, tree, Selection(tests, 600))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime
        print(f"{' '.join(tests)}: {seconds:.1f} s of CPU without a mutant", flush=True)
        if code:
            sys.exit(f"error: these tests fail without a mutant; see {_keep_log(tree)}")
        selections[tests] = Selection(tests, seconds)
    return selections


def _keep_log(tree: Path) -> Path:
    return Path(shutil.copy(tree / "pytest.log", STATE / "pytest.log"))


def _copy_repository(target: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], check=True, capture_output=True
    )
    for name in sorted(set(listed.stdout.decode().split("\0"))):
        if name and Path(name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(name, target / name)
    (target / ".venv").symlink_to(Path(".venv").resolve())
    subprocess.run(["git", "init", "--quiet", str(target)], check=True)  # some tests read .gitattributes by git


def _start(mutant: Mutant | None, tree: Path, selection: Selection) -> int:
    """Start the tests in a fork, and return its process id. Its exit status is 0 if all pass."""
    tests = list(selection.tests)
    if mutant is not None:
        (tree / mutant.path).write_text(mutant.source, "utf-8")
        for compiled in (tree / mutant.path).parent.glob(f"__pycache__/{mutant.path.stem}.*"):
            compiled.unlink()
        own = Path("tests", *mutant.path.parts[1:-1], f"test_{mutant.path.name}")
        if (tree / own).is_file():
            tests.insert(0, str(own))
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        os.chdir(tree)
        log = os.open("pytest.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        limit = int(30 + 5 * selection.seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        repository = str(Path(__file__).resolve().parents[2])
        sys.path[:] = [str(tree), *(entry for entry in sys.path if entry not in ("", repository, os.getcwd()))]
        for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "comp")]:
            del sys.modules[name]
        # A mutant of the same size within the same second would be taken for the compiled original.
        sys.dont_write_bytecode = mutant is not None
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1" if mutant else ""
        code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={tree}/tmp", *tests])
    finally:
        os._exit(int(code))


def _read_results() -> dict[str, tuple[str, str]]:
    path = STATE / "results.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    return {key: (outcome, tests_hash) for key, outcome, tests_hash, _ in rows}


def _key(mutant: Mutant) -> str:
    return hashlib.sha256(f"{mutant.path.as_posix()}\n{mutant.source}".encode()).hexdigest()[:16]


def _hash_of(*paths: Path) -> str:
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()[:16]

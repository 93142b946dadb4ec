"""A machine with the packages of requirements-predict.txt alone, and the files that docs/predicting.md names."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import REPO_ROOT

ONE = "input/tiny/test/img_0.jpg"
SCRIPT = """
import sys
from importlib.metadata import packages_distributions

owners, allowed = packages_distributions(), {allowed!r}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        packages = [owner.lower().replace("_", "-") for owner in owners.get(name.partition(".")[0], ())]
        if packages and not allowed.intersection(packages):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
sys.path.insert(0, {root!r})
sys.argv = ["comp", "predict", *{arguments!r}]
from comp.__main__ import console_script
sys.exit(console_script())
"""


def with_dependencies(names: list[str]) -> set[str]:
    """Return the distributions of these names, and all that they require."""
    closed, waiting = set(), list(names)
    while waiting:
        if (name := canonicalize_name(waiting.pop())) not in closed:
            closed.add(name)
            needed = map(Requirement, requires(name) or ())
            waiting += [need.name for need in needed if not need.marker or need.marker.evaluate({"extra": ""})]
    return closed


def predict(*arguments: str) -> subprocess.CompletedProcess:
    lines = (REPO_ROOT / "requirements-predict.txt").read_text().splitlines()
    allowed = {"comp", *with_dependencies([Requirement(line).name for line in lines if not line.startswith("#")])}
    assert not allowed & {"torch", "pandas", "pyyaml"}
    script = SCRIPT.format(allowed=allowed, root=str(REPO_ROOT), arguments=arguments)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


def test_predict_by_onnx_needs_only_the_listed_packages_and_files(workspace, run_cli, tmp_path_factory, monkeypatch):
    assert run_cli("comp", "predict", ONE, "--run", "both", "--runtime", "onnx", "--csv", "a.csv")[0] == 0
    other = tmp_path_factory.mktemp("other")
    for file in (
        *Path("runs/served").rglob("*.*"),
        *Path("runs").glob("*/fold*/fold.json"),
        ONE,
        "submissions/both.json",
    ):
        (other / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, other / file)
    first = Path("a.csv").read_text()
    monkeypatch.chdir(other)
    process = predict(ONE, "--run", "both", "--runtime", "onnx", "--csv", "a.csv")
    assert (process.returncode, process.stderr) == (0, "") and Path("a.csv").read_text() == first

    process = predict(ONE, "--run", "both")
    assert process.returncode == 2 and process.stderr.startswith(
        "error: torch is not installed, so only --runtime onnx"
    )
    Path("runs/served/submissions/both/served.json").unlink()
    process = predict(ONE, "--run", "both", "--runtime", "onnx")
    assert process.returncode == 2 and process.stderr.count("\n") == 1 and " is not installed, so " in process.stderr

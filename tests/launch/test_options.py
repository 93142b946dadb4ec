"""The options of launchers: what has no effect is refused, in one line and before anything is imported or written."""

from __future__ import annotations

import sys

import pytest

from tests.conftest import SMALL


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--address", "auto"], "--address has no effect with --launcher local"),
        (["--cpus", "2"], "--cpus has no effect with --launcher local"),
        (["--launcher", "ray", "--hours", "2"], "--hours has no effect with --launcher ray"),
        (["--launcher", "slurm", "--address", "auto"], "--address has no effect with --launcher slurm"),
        (["--launcher", "ray", "--jobs", "2"], "--jobs is for training in this process"),
        (["--launcher", "ray", "--debug"], "--debug is for training in this process"),
        (["--launcher", "slurm", "--device", "cuda"], "--device is for training in this process"),
        (["--launcher", "ray", "--gpus", "2"], "a fold trains on one GPU"),
        (["--launcher", "ray", "--cpus", "0"], "--cpus must be 1 or more"),
        (["--launcher", "slurm", "--slurm", "partition"], "--slurm takes KEY=VALUE"),
        (["--launcher", "condor"], "invalid choice: 'condor'"),
    ],
)
def test_launcher_option_without_effect_is_refused(arguments, message, run_cli, workspace):
    status, _, err = run_cli("train.py", *SMALL, *arguments)
    assert status == 2 and err.startswith("error: ") and message in err and err.count("\n") == 1
    assert not (workspace / "runs").exists()


@pytest.mark.parametrize(("launcher", "library"), [("ray", "ray"), ("slurm", "submitit")])
def test_launcher_missing_library_is_an_error_that_names_the_extra(launcher, library, run_cli, workspace, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)  # an ImportError
    monkeypatch.delitem(sys.modules, f"comp.launch.{launcher}_launcher", raising=False)
    status, _, err = run_cli("train.py", *SMALL, "--launcher", launcher)
    assert status == 2 and err.endswith(f"; pip install -e '.[{launcher}]'\n") and err.count("\n") == 1

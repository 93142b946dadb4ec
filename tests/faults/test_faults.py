"""A short part of `make faults`, and proof that the harness notices each kind of fault."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import REPO_ROOT
from tests.faults import obstacles
from tests.faults.bench import Bench
from tests.faults.full_disks import full_disk_cases
from tests.faults.kills import kill_cases
from tests.faults.obstacles import obstacle_cases
from tests.faults.programs import Program

CARELESS = """
import json, os, time
from pathlib import Path

def main():
    Path("result.tmp").write_text("begun")
    json.loads(Path("settings.json").read_text())
    with open("result.txt", "a") as file:
        file.write("x" * 5000)
        time.sleep(0.05)
    os.remove("result.tmp")
"""


@pytest.fixture
def careless(tmp_path, monkeypatch) -> Program:
    """A program without errors for users, which leaves temporary files and half-written ones."""
    (tmp_path / "stage").mkdir()
    (tmp_path / "stage/settings.json").write_text("{}")
    (tmp_path / "careless.py").write_text(CARELESS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(obstacles, "PATIENCE", 1)
    return Program("careless", ("careless.py",), "stage")


@pytest.mark.slow
def test_harness_careless_program_is_caught(careless, tmp_path):
    bench = Bench(tmp_path)
    faults = {
        cases.__name__: {result.fault for result in cases(bench, careless, 12, 0)}
        for cases in (kill_cases, obstacle_cases, full_disk_cases)
    }
    assert faults["kill_cases"] >= {"lost", "leftover"}
    assert faults["obstacle_cases"] >= {"traceback", "hang"}
    assert "leftover" in faults["full_disk_cases"]


def test_programs_disturbed_lose_nothing():
    command = [sys.executable, "-m", "tests.faults", "--cases", "1", "--only", "folds", "infer.py", "submit push"]
    process = subprocess.run(command, cwd=REPO_ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr

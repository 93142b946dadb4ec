"""The directory that the checks work in: a drawn competition, its split, and the kit's programs run on it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

REPO_ROOT = Path(__file__).resolve().parents[2]
OVERRIDES = ["data.size=64", "train.epochs=12", "log.wandb=off"]
CONFIG = ["-c", "configs/demo.yaml", *OVERRIDES]
TIMEOUT = 600  # seconds of one command


class Skipped(Exception):
    """A check that this machine cannot make."""


def prepare() -> None:
    """Draw 160 training and 32 test images and split them, unless an earlier call has done so."""
    shutil.copytree(REPO_ROOT / "configs", "configs", dirs_exist_ok=True)
    if not Path("folds/demo.csv").is_file():
        run("-m", "comp", "data", "demo", "--per-class", "20", "--test", "32")
        run("-m", "comp", "folds", *CONFIG)


def run(*arguments: str, expected: int = 0) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments; an AssertionError for another exit status than `expected`."""
    process = subprocess.run(
        [sys.executable, *_resolve(arguments)], env=_environment(), capture_output=True, text=True, timeout=TIMEOUT
    )
    last_line = (process.stderr.strip() or process.stdout.strip()).rpartition("\n")[2]
    assert process.returncode == expected, f"{' '.join(arguments[:4])} exits {process.returncode}: {last_line}"
    return process


def train(name: str, *arguments: str, device: str = "cuda") -> None:
    """Train the demo."""
    run("train.py", *CONFIG, "--name", name, "--device", device, *arguments)


def check_resumed(name: str) -> None:
    """Raise an AssertionError unless fold 0 was resumed and is done."""
    log, record = Path(f"runs/{name}/fold0/train.log").read_text(), Path(f"runs/{name}/fold0/fold.json").read_text()
    assert "resumes at step" in log, "the training began from scratch"
    assert json.loads(record)["status"] == "done"


def kill_training(name: str, *arguments: str, device: str = "cuda") -> None:
    """Start the training of fold 0 and kill it when it has saved a state."""
    command = ["train.py", *CONFIG, "--name", name, "--device", device, "--fold", "0", "train.save_every=0", *arguments]
    process = subprocess.Popen(
        [sys.executable, *_resolve(command)],
        env=_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    state, start = Path(f"runs/{name}/fold0/resume.pt"), time.monotonic()
    while process.poll() is None and not state.is_file() and time.monotonic() - start < TIMEOUT:
        time.sleep(0.02)
    running = process.poll() is None
    if running:
        os.killpg(process.pid, signal.SIGKILL)  # the workers too
    _, errors = process.communicate()
    assert running, f"the training ended before it could be killed: {errors.strip().rpartition(chr(10))[2]}"
    assert state.is_file(), "no resume.pt was written"


def _resolve(arguments: list[str] | tuple[str, ...]) -> list[str]:
    return [str(REPO_ROOT / argument) if argument in ("train.py", "infer.py") else argument for argument in arguments]


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(REPO_ROOT), "WANDB_MODE": "disabled", "NO_ALBUMENTATIONS_UPDATE": "1"}

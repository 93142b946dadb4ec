"""Checks of the kit's programs, each in a process of its own. Each returns its measurement as text, or raises."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tests.gpu_check.workspace import CONFIG, Skipped, check_resumed, kill_training, run, train

RUN = "gpu-check"
MAX_PROBABILITY_DIFFERENCE = 0.05  # between GPU in 16 bits and CPU; a wrong operation changes it by more
# The first argument is the number of bytes that torch may use; train.py gets the others.
WITH_LITTLE_MEMORY = """
import runpy, sys, torch
torch.cuda.set_per_process_memory_fraction(float(sys.argv[1]) / torch.cuda.get_device_properties(0).total_memory)
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def trained_run() -> None:
    """Train the three folds of the run that several checks use, unless they are trained."""
    train(RUN, "train.snapshots=2")


def whole() -> str:
    trained_run()
    metrics = json.loads(Path(f"runs/{RUN}/metrics.json").read_text())
    return f"three folds, OOF accuracy {metrics['oof']['kept']['score']:.3f}"


def resume() -> str:
    kill_training("killed")
    train("killed", "--fold", "0")
    check_resumed("killed")
    return "killed, and resumed to the end"


def moved() -> str:
    kill_training("moved", device="cpu")
    train("moved", "--fold", "0", device="cuda")
    check_resumed("moved")
    return "begun on the CPU, and ended on the GPU"


def torchrun() -> str:
    if torch.cuda.device_count() < 2:
        raise Skipped("one GPU")
    kill_training("several")
    command = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    run(*command, "train.py", *CONFIG, "--name", "several", "--fold", "0")
    check_resumed("several")
    return "begun on one GPU, and ended on two"


def jobs() -> str:
    train("parallel", "--jobs", "3", "train.epochs=2")
    return f"three folds at a time on {torch.cuda.device_count()} GPU"


def soup() -> str:
    trained_run()
    run("-m", "comp", "soup", RUN)
    assert Path(f"runs/{RUN}+soup/metrics.json").is_file()
    return "the mean of two epochs"


def out_of_memory() -> str:
    command = ("train.py", *CONFIG, "--name", "memory", "--device", "cuda", "--fold", "0", "train.batch=128")
    lines = run("-c", WITH_LITTLE_MEMORY, str(64 * 2**20), *command, expected=2).stderr.splitlines()
    assert "Traceback" not in lines and "memory" in lines[-1], lines[-1]
    return lines[-1][:80]


def infer() -> str:
    trained_run()
    first, second = (_predict("cuda") for _ in range(2))
    assert all(np.array_equal(first[fold], second[fold]) for fold in first), "two predictions differ"
    cpu = _predict("cpu")
    difference = max(float(np.abs(first[fold] - cpu[fold]).max()) for fold in first)
    assert difference <= MAX_PROBABILITY_DIFFERENCE, f"GPU and CPU differ by {difference:.3f}"
    return f"twice the same bytes; the CPU's within {difference:.4f}"


def _predict(device: str) -> dict[str, np.ndarray]:
    """Predict the test images anew, and return the probabilities of each fold's model and the bytes submitted."""
    shutil.rmtree(f"runs/{RUN}/predictions", ignore_errors=True)
    run("infer.py", RUN, "--device", device, "--name", f"{RUN}-{device}")
    tables = {path.stem: np.load(path)["predictions"] for path in Path(f"runs/{RUN}/predictions").glob("*/test_*.npz")}
    assert len(tables) == 3, f"{len(tables)} tables of test predictions"
    return tables


def bundle() -> str:
    trained_run()
    run("-m", "comp", "bundle", RUN)
    return f"{Path(f'runs/bundles/{RUN}.zip').stat().st_size / 2**20:.1f} MB, verified"


def export() -> str:
    if not importlib.util.find_spec("onnxruntime"):
        raise Skipped("onnxruntime is not installed")
    trained_run()
    run("-m", "comp", "export", RUN, "--to", "onnx")
    return "ONNX files agree with torch"


def bench() -> str:
    result = json.loads(run("-m", "comp", "bench", *CONFIG, "--only", "train,infer", "--json").stdout)
    return f"{result['train_ips']:.0f} images/s in training, {result['infer_ips']:.0f} in prediction"


PROGRAMS: dict[str, Callable[[], str]] = {
    "train": whole,
    "resume": resume,
    "moved": moved,
    "torchrun": torchrun,
    "jobs": jobs,
    "soup": soup,
    "oom": out_of_memory,
    "infer": infer,
    "bundle": bundle,
    "export": export,
    "bench": bench,
}

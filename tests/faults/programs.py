"""Every program of the kit as a command, and the workspaces that the commands need: one for each stage of the work."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import REPO_ROOT
from tests.faults.execute import execute

TINY = """\
extends: deep_efficientnet.yaml
data: {root: input/tiny, size: 24}
folds: {k: 3}
augment: {policy: flips}
model: {name: test_efficientnet}
train: {epochs: 3, batch: 16, precision: fp32, save_every: 0, snapshots: 2}
submit: {kaggle: blood-cells-2026}
log: {wandb: off}
"""
STUDY = """\
base: ../tiny.yaml
fixed: {train.epochs: 1, train.snapshots: 0}
folds: '0'
confirm: '1'
space:
  optim.lr: {low: 1e-4, high: 1e-2, log: true}
"""
PAPER = "table,row,config,accuracy,scored_on,doubt\nTable 1,CNN,row,0.9,validation,\n"
ROW = "extends: ../../tiny.yaml\ntrain: {epochs: 1, snapshots: 0}\n"
CONFIG = ("-c", "configs/tiny.yaml")


@dataclass(frozen=True)
class Program:
    """A command, the stage of the workspace that it needs, and how much it costs to run."""

    name: str
    command: tuple[str, ...]  # train.py, infer.py or comp, and the arguments
    stage: str
    cost: int = 1  # 1: less than two seconds; a program of cost n gets an n-th of the cases
    status: int = 0  # its exit status when nothing disturbs it
    is_report: bool = False  # it lists what is wrong: other output for other files is correct
    uses_kaggle: bool = False


PROGRAMS = [
    Program("data demo", ("comp", "data", "demo", "--root", "input/new", "--per-class", "3", "--test", "4"), "drawn"),
    Program("data check", ("comp", "data", "check", *CONFIG), "drawn", is_report=True),
    Program("data show", ("comp", "data", "show", *CONFIG, "--columns", "2"), "drawn"),
    Program(
        "data export-npz",
        ("comp", "data", "export-npz", "data.root=input/ten", "--size", "16", "--out", "input/new.npz"),
        "drawn",
    ),
    Program("data import", ("comp", "data", "import", "input/ten_16.npz"), "drawn"),
    Program("folds", ("comp", "folds", *CONFIG), "drawn"),
    Program("train.py --fold 0", ("train.py", *CONFIG, "--name", "x", "--fold", "0"), "split", cost=3),
    Program(
        "train.py --jobs 2", ("train.py", *CONFIG, "--name", "x", "--fold", "0,1", "--jobs", "2"), "split", cost=20
    ),
    Program("soup", ("comp", "soup", "anna"), "trained", cost=2),
    Program("export --to onnx", ("comp", "export", "anna", "--to", "onnx"), "trained", cost=4),
    Program("export --to openvino", ("comp", "export", "anna", "--to", "openvino"), "trained", cost=4),
    Program("infer.py", ("infer.py", "anna", "--tta", "flips"), "trained", cost=2),
    Program(
        "infer.py, a blend", ("infer.py", "anna", "bert", "--blend", "weights", "--name", "both"), "trained", cost=2
    ),
    Program("leaderboard", ("comp", "leaderboard"), "predicted", is_report=True),
    Program("tune", ("comp", "tune", "configs/studies/few.yaml", "--trials", "2"), "split", cost=5),
    Program("reproduce", ("comp", "reproduce", "mini"), "split", cost=20),
    Program("bundle", ("comp", "bundle", "anna"), "predicted", cost=20),
    Program("submit check", ("comp", "submit", "check", "anna", "--yes"), "predicted", is_report=True),
    Program(
        "submit push", ("comp", "submit", "push", "anna", "-m", "mine", "--yes"), "predicted", cost=2, uses_kaggle=True
    ),
    Program("submit log", ("comp", "submit", "log", "anna", "--public", "0.5"), "predicted"),
    Program("submit status", ("comp", "submit", "status", *CONFIG), "predicted", is_report=True),
    Program("submit final", ("comp", "submit", "final", "anna"), "predicted"),
    Program("submit reproduce", ("comp", "submit", "reproduce", "anna"), "predicted", cost=2, is_report=True),
]


def build_stages(root: Path, stages: Collection[str]) -> None:
    """Make a directory below `root` for each stage up to the last of `stages`, unless it exists."""
    builders = {"drawn": _draw, "split": _split, "trained": _train, "predicted": _predict}
    order = list(builders)
    for position in range(1 + max(map(order.index, stages))):
        directory, unfinished = root / order[position], root / "unfinished"
        if not directory.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
            if position:
                shutil.copytree(root / order[position - 1], unfinished)
            else:
                unfinished.mkdir(parents=True)
            builders[order[position]](unfinished)
            unfinished.rename(directory)


def _draw(workspace: Path) -> None:
    for name, content in {
        "deep_efficientnet.yaml": (REPO_ROOT / "configs/deep_efficientnet.yaml").read_text(),
        "tiny.yaml": TINY,
        "studies/few.yaml": STUDY,
        "papers/mini/reported.csv": PAPER,
        "papers/mini/row.yaml": ROW,
    }.items():
        (workspace / "configs" / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace / "configs" / name).write_text(content)
    _run(workspace, "comp", "data", "demo", "--root", "input/tiny", "--per-class", "6", "--test", "8")
    # A column of probabilities per class shows every digit of a prediction.
    classes = sorted(path.name for path in (workspace / "input/tiny/train").iterdir())
    rows = [f"img_{number}.jpg{',0.125' * len(classes)}" for number in range(8)]
    sample = workspace / "input/tiny/sample_submission.csv"
    sample.write_text("\n".join([",".join(["image", *classes]), *rows, ""]))
    _run(workspace, "comp", "data", "demo", "--root", "input/ten", "--per-class", "11", "--test", "2")
    _run(workspace, "comp", "data", "export-npz", "data.root=input/ten", "--size", "16", "--out", "input/ten_16.npz")


def _split(workspace: Path) -> None:
    _run(workspace, "comp", "folds", *CONFIG)


def _train(workspace: Path) -> None:
    _run(workspace, "train.py", *CONFIG, "--name", "anna")
    _run(workspace, "train.py", *CONFIG, "--name", "bert", "train.seed=1")
    shutil.rmtree(workspace / "runs/anna/predictions")  # the programs make them
    shutil.rmtree(workspace / "runs/bert/predictions")


def _predict(workspace: Path) -> None:
    _run(workspace, "infer.py", "anna")
    _run(workspace, "infer.py", "anna", "bert", "--name", "both")
    _run(workspace, "comp", "submit", "log", "both", "--public", "0.25")


def _run(workspace: Path, *command: str) -> None:
    outcome = execute(command, workspace)
    assert outcome.status == 0, f"{command}: {outcome}"

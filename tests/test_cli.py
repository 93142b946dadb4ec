"""The programs as users run them: from images to a submission, and every mistake as one line."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from comp.files import read_json
from tests.conftest import REPO_ROOT, SMALL
from tests.predictions import read_table


def shell(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPO_ROOT)},
    )


@pytest.mark.parametrize("program", [["train.py"], ["infer.py", "no-such-run"]])
def test_cli_terminal_shows_a_line_before_the_imports(tmp_path, program):
    ours, theirs = os.openpty()
    (tmp_path / "torch.py").write_text("import time; time.sleep(600)")  # an import that does not end
    process = subprocess.Popen(
        [sys.executable, *program],
        cwd=REPO_ROOT,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    try:
        assert os.read(ours, 1000).startswith(b"loading PyTorch")
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def test_cli_images_to_submission_file(workspace, run_cli):
    assert run_cli("comp", "data", "check", *SMALL)[0] == 0
    assert run_cli("comp", "folds", *SMALL)[0] == 0
    assert "already exists and is the same" in run_cli("comp", "folds", *SMALL)[1]
    status, out, err = run_cli("train.py", "--name", "tiny", *SMALL)
    assert (status, err) == (0, "")
    last = out.strip().splitlines()[-1]
    assert last.startswith("CV 0.") and "±" in last and "OOF" in last and last.endswith("next: python infer.py tiny")
    assert run_cli("train.py", "--name", "tiny", *SMALL)[1].count("already done") == 3

    oof = read_table(Path("runs/tiny/predictions/identity/oof.npz"), sorted(os.listdir("input/tiny/train")))
    folds = pd.read_csv("folds/tiny.csv").set_index("image")
    assert set(oof.index) == set(folds.index)
    assert (oof["fold"] == folds.loc[oof.index, "fold"]).all() and (oof["label"] == folds.loc[oof.index, "label"]).all()
    metrics = read_json(Path("runs/tiny/metrics.json"))
    correct = oof[sorted(set(oof["label"]))].idxmax(axis=1) == oof["label"]
    assert metrics["complete"] and metrics["oof"]["kept"]["score"] == pytest.approx(correct.mean())

    status, out, _ = run_cli("infer.py", "tiny", "--tta", "d4")
    assert out.endswith("next: python -m comp submit check submissions/tiny+d4.csv\n")
    assert status == 0 and "OOF accuracy" in out and "true test accuracy" in out
    written, sample = Path("submissions/tiny+d4.csv"), Path("input/tiny/sample_submission.csv")
    assert pd.read_csv(written)["image"].tolist() == pd.read_csv(sample)["image"].tolist()
    assert written.read_bytes().splitlines(keepends=True)[0] == sample.read_bytes().splitlines(keepends=True)[0]
    files = sorted(Path("runs/tiny/predictions").glob("*/test_fold*.npz"))
    views = [read_table(file, list(oof.columns[2:])) for file in files]
    best = sum(views).to_numpy().argmax(1)
    assert len(views) == 8 * 3 and dict(zip(views[0].index, best, strict=True)) == dict(pd.read_csv(written).to_numpy())


def test_infer_partial_run_warns_and_full_run_has_no_cv(workspace, run_cli):
    run_cli("comp", "folds", *SMALL)
    assert "(folds 1 only)" in run_cli("train.py", "--name", "part", "--fold", "1", *SMALL)[1]
    status, out, err = run_cli("infer.py", "part")
    assert status == 0 and err == "warning: part lacks fold 0, 2; blended without it\n"
    assert "no CV" in run_cli("train.py", "--name", "all", "--fold", "full", *SMALL)[1]
    status, out, err = run_cli("infer.py", "all", "--fold", "full")
    assert status == 0 and "there is no CV" in out and Path("submissions/all+full.csv").is_file()
    before = np.loadtxt("submissions/part.csv", dtype=str)
    run_cli("train.py", "--name", "part", "--fold", "0", *SMALL)
    run_cli("infer.py", "part")
    assert read_json(Path("submissions/part.json"))["members"][0]["weights_sha256"].keys() == {"0", "1"}
    assert len(np.loadtxt("submissions/part.csv", dtype=str)) == len(before)


def test_train_seeds_debug_and_init(workspace, run_cli):
    run_cli("comp", "folds", *SMALL)
    assert "runs/debug/deep_efficientnet" in run_cli("train.py", "--debug", "--fold", "0", *SMALL)[1]
    assert run_cli("infer.py", "debug/*")[0] == 2
    status, _, _ = run_cli("train.py", "--fold", "0", "--name", "two", *SMALL, "train.seed=0,1")
    assert status == 0 and sorted(os.listdir("runs"))[-2:] == ["two+train.seed=0", "two+train.seed=1"]
    status, _, _ = run_cli("train.py", "--fold", "0", "--name", "on", *SMALL, "train.init=two+train.seed=0")
    assert status == 0
    run_cli("comp", "folds", *SMALL, "folds.seed=1", "folds.file=folds/other.csv")
    other = ["folds.seed=1", "folds.file=folds/other.csv"]
    status, _, err = run_cli("train.py", "--fold", "0", *SMALL, "train.init=two+train.seed=0", *other)
    assert status == 2 and "another split" in err


def test_train_early_stopping_keeps_best_epoch_and_is_optimistic(workspace, run_cli):
    run_cli("comp", "folds", *SMALL)
    stop = [*SMALL, "train.epochs=30", "train.patience=2", "train.monitor=loss", "train.keep=best", "optim.lr=0.1"]
    out = run_cli("train.py", "--fold", "0", "--name", "stop", *stop)[1]
    history = pd.read_csv("runs/stop/fold0/history.csv")
    record = read_json(Path("runs/stop/fold0/fold.json"))
    assert "optimistic" in out and len(history) < 30
    assert record["best_epoch"] == history["val_loss"].idxmin() + 1 == len(history) - 2


RECIPES = sorted(path.stem for path in (REPO_ROOT / "configs" / "recipes").glob("*.yaml"))


NEED_FILES = {"init", "pretrained", "finetune", "distil", "pseudo_labels", "simclr_start"}  # weights, or another run


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name not in NEED_FILES])
def test_train_every_recipe_runs(recipe, workspace, run_cli):
    run_cli("comp", "folds", *SMALL)
    small = [override for override in SMALL if "precision" not in override or recipe != "fp16"]
    # its own network where the recipe is about that network
    small = [override for override in small if "model.name" not in override or recipe not in ("no_se", "resnet18")]
    status, out, err = run_cli("train.py", "-c", f"configs/recipes/{recipe}.yaml", "--debug", "--fold", "0", *small)
    assert status == 0 and out.strip().endswith("works; do not use its scores")
    assert err.startswith("warning: the run computes in fp16, which cpu emulates") if recipe == "fp16" else err == ""


def test_data_show_draws_one_row_per_class(workspace, run_cli):
    status, out, _ = run_cli("comp", "data", "show", *SMALL, "--columns", "3", "--out", "sheet.png")
    height, width = cv2.imread("sheet.png").shape[:2]
    assert status == 0 and "sheet.png" in out and height > 8 * 24 and width > 4 * 24
    run_cli("comp", "data", "show", *SMALL, "--columns", "3", "--out", "batch.png", "augment.device=gpu")
    assert width - cv2.imread("batch.png").shape[1] > 3 * 24  # without a device: augmented both ways


def test_infer_changed_image_is_predicted_again(workspace, run_cli):
    run_cli("comp", "folds", *SMALL)
    run_cli("train.py", "--name", "x", *SMALL)
    run_cli("infer.py", "x")
    table = Path("runs/x/predictions/identity/test_fold0.npz")
    before, untouched = table.read_bytes(), table.stat().st_mtime_ns
    run_cli("infer.py", "x")
    assert table.stat().st_mtime_ns == untouched  # nothing changed: not predicted again
    first, last = (Path(f"input/tiny/test/img_{number}.jpg") for number in (0, 7))
    first.write_bytes(last.read_bytes())
    run_cli("infer.py", "x")
    rows = read_table(table, sorted(os.listdir("input/tiny/train")))
    assert table.read_bytes() != before and (rows.loc["img_0.jpg"] == rows.loc["img_7.jpg"]).all()


def test_train_finished_run_does_not_need_its_init(workspace, run_cli):
    run_cli("comp", "folds", *SMALL)
    run_cli("train.py", "--name", "old", *SMALL)
    command = ["train.py", "--name", "new", *SMALL, "train.init=old"]
    assert run_cli(*command)[0] == 0
    shutil.rmtree("runs/old")
    assert run_cli(*command)[0] == 0


MISTAKES = {
    "an unknown command": (["comp", "dta"], "unknown command 'dta'"),
    "an unknown command of a group": (["comp", "data", "chek"], "did you mean data check"),
    "an unknown flag": (["train.py", "--flod", "0"], "unrecognized arguments: --flod"),
    "an unknown flag of infer": (["infer.py", "--tt", "d4"], "unrecognized arguments: --tt"),
    "a bad choice": (["infer.py", "--tta", "d8"], "invalid choice: 'd8'"),
    "an unknown key": (["train.py", "train.epoch=3"], "did you mean train.epochs"),
    "a bad value": (["train.py", "train.epochs=many"], "train.epochs must be a valid integer"),
    "no key=value": (["train.py", "epochs"], "an override is key=value"),
    "an unknown model": (["train.py", *SMALL, "model.name=resnet81"], "did you mean resnet"),
    "a wrong model argument": (["train.py", *SMALL, "model.kwargs.see=true"], "does not take 'see'"),
    "an unknown policy": (["train.py", *SMALL, "augment.policy=heavvy"], "did you mean heavy"),
    "an unknown optimiser": (["train.py", *SMALL, "optim.name=adamww"], "did you mean adamw"),
    "an unknown metric": (["train.py", *SMALL, "train.metric=acuracy"], "did you mean accuracy"),
    "no jobs": (["train.py", *SMALL, "--jobs", "0"], "--jobs must be 1 or more"),
    "jobs that are no number": (["train.py", *SMALL, "--jobs", "all"], "--jobs: invalid int value: 'all'"),
    "a malformed fold": (["train.py", *SMALL, "--fold", "0-4"], "cannot read the folds"),
    "an absent fold": (["train.py", *SMALL, "--fold", "7"], "there is no fold 7"),
    "a missing config": (["train.py", "-c", "configs/dmeo.yaml"], "did you mean configs/demo.yaml"),
    "a missing dataset": (["train.py", "data.root=input/nothing"], "there is no dataset at input/nothing"),
    "an absent device": (["train.py", *SMALL, "--device", "cuda:9"], "--device cuda:9 is not available"),
    "a device that cannot compute": (["train.py", *SMALL, "--device", "meta"], "--device meta is not available"),
    "a missing run": (["infer.py", "nothing"], "there is no run nothing"),
    "no run at all": (["infer.py"], "there is no run deep_efficientnet"),
    "an init that is not there": (["train.py", *SMALL, "train.init=nothing"], "there is no run nothing"),
    "a missing study": (["comp", "tune", "configs/studies/no.yaml"], "there is no config"),
    "a bad number of trials": (["comp", "tune", "configs/studies/regularisation.yaml", "--trials", "0"], "--trials"),
    "more folds than images": (["comp", "folds", *SMALL, "folds.k=7"], "too few for 7 folds"),
    "a size the model refuses": (["train.py", *SMALL, "model.name=test_vit", "data.size=25"], "change data.size"),
    "a batch too small for BatchNorm": (["train.py", *SMALL, "train.batch=1"], "change data.size, train.batch"),
    "a value YAML cannot make": (["train.py", "optim.lr=!!int x"], "cannot read the value"),
    "endless folds": (["train.py", *SMALL, "--fold", "0..99999999"], "cannot read the folds"),
    "a name outside runs/": (["train.py", *SMALL, "--name", "../x"], "cannot use '../x' as a name"),
    "a schedule that needs validation": (["train.py", *SMALL, "--fold", "full", "schedule.name=plateau"], "plateau"),
    "a split of another k": (["train.py", *SMALL, "folds.k=4"], "set folds.k=3"),
    "another split": (["comp", "folds", *SMALL, "folds.seed=7"], "--force"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_cli_mistake_is_one_error_line_and_status_2(mistake, workspace, run_cli):
    arguments, expected = MISTAKES[mistake]
    run_cli("comp", "folds", *SMALL)
    before = sorted(path for path in workspace.rglob("*") if "runs/.cache" not in str(path))
    status, _, err = run_cli(*arguments)
    assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and expected in err
    leftover = [path for path in sorted(workspace.rglob("*")) if "runs/.cache" not in str(path) and path not in before]
    assert [path for path in leftover if path.suffix not in (".lock", "") and "studies" not in str(path)] == []


def test_cli_bad_file_is_one_error_line_and_status_2(workspace, run_cli):
    def fails(expected: str, *arguments: str) -> None:
        status, _, err = run_cli(*arguments)
        assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and expected in err, err

    run_cli("comp", "folds", *SMALL)
    train = ["train.py", "--name", "x", "--fold", "0", *SMALL]
    victim = next(Path("input/tiny/train/monocyte").iterdir())
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    fails(victim.name, *train)
    fails(victim.name, "comp", "folds", *SMALL, "folds.file=folds/new.csv")
    assert not Path("folds/new.csv").exists() and not Path("runs/x/run.json").exists()
    victim.write_bytes(whole)
    spare = Path("input/tiny/train/monocyte/new.jpg")
    spare.write_bytes(whole)
    fails("does not match", *train)
    spare.unlink()

    assert run_cli(*train)[0] == 0
    fails("train.epochs=2, and this config has 3", *train, "train.epochs=3")
    weights = Path("runs/x/fold0/weights.pt")
    saved = weights.read_bytes()
    for broken in (saved[:1000], b"not a checkpoint"):
        weights.write_bytes(broken)
        fails("is not the file that was recorded", "infer.py", "x")
    assert not Path("submissions/x.csv").exists()
    weights.unlink()  # as the error advises
    assert run_cli(*train)[0] == 0 and weights.read_bytes() == saved
    sample = Path("input/tiny/sample_submission.csv")
    sample.write_text(sample.read_text() + "img_99.jpg,0\n")
    fails("img_99.jpg", "infer.py", "x")
    Path("folds/tiny.csv").write_text("image,fold\n")
    fails("must begin with the columns", "train.py", "--name", "y", *SMALL)
    assert run_cli("train.py", "--restart", "--name", "x", *SMALL)[0] == 2  # still refused: the split is checked first


def test_train_in_a_shell_mistake_is_one_line_and_status_2(workspace):
    process = shell(str(REPO_ROOT / "train.py"), "train.epoch=3", cwd=workspace)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.startswith("error: ") and process.stderr.count("\n") == 1


def test_train_full_disk_is_one_line_and_resumes(workspace, run_cli, monkeypatch):
    run_cli("comp", "folds", *SMALL)
    train = ["train.py", "--name", "full", "--fold", "0", *SMALL, "train.save_every=0", "train.epochs=40"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room, file in ((200_000, "runs/.cache"), (None, ""), (200_000, "runs/full/fold0/resume.pt")):
        # no file above 200 kB, as on a disk that is full: first the cache cannot be written, then a save
        resource.setrlimit(resource.RLIMIT_FSIZE, (room or soft, hard))
        try:
            status, _, err = run_cli(*train) if room else run_cli("train.py", "--debug", "--fold", "0", *SMALL)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert status == (2 if room else 0)
        assert not room or (err.startswith("error: ") and err.count("\n") == 1 and file in err), err
        assert not list(workspace.rglob("*.tmp")) and not list(workspace.rglob("*.part"))
    assert run_cli(*train)[0] == 0
